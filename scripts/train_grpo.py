"""Train an LLM reranker with a policy gradient.

accelerate launch scripts/train_grpo.py --reward unlikeliness --reranker rank_r1 --collection scifact --model MODEL

The same as `accelerate launch -m rankrl.train …`, which needs no clone.
"""

import sys

from rankrl.train import main

if __name__ == "__main__":
    sys.exit(main())
