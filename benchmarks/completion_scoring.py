"""Log-probabilities of short completions after long prompts, on a CPU: TRL's fused head against the completion's logits alone.

python benchmarks/completion_scoring.py [rows] [prompt tokens] [completion tokens]

One model of the demo's shape (three layers of 192, 20,736 entries in the vocabulary), one batch, forward and backward, in turn in
one process; the answers are shown equal first. Set OMP_NUM_THREADS deliberately: it is printed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl.trainer.utils import add_fused_lm_head


def main() -> None:
    B, P, T = (int(sys.argv[i]) if len(sys.argv) > i else value for i, value in ((1, 16), (2, 283), (3, 7)))
    torch.manual_seed(0)
    shape = {"hidden_size": 192, "intermediate_size": 192, "num_hidden_layers": 3, "head_dim": 64, "vocab_size": 20_736}
    heads = {"num_attention_heads": 3, "num_key_value_heads": 3, "tie_word_embeddings": False}
    model = Qwen3ForCausalLM(Qwen3Config(**shape, **heads)).train()
    add_fused_lm_head(model)
    ids_BL = torch.randint(0, shape["vocab_size"], (B, P + T))
    mask_BL = torch.ones_like(ids_BL)
    mask_BL[:, : P // 10] = 0
    labels_BL = ids_BL.clone()
    labels_BL[:, :P] = -100

    def fused() -> Tensor:
        out = model(input_ids=ids_BL, attention_mask=mask_BL, labels=labels_BL, fused_lm_head=True)
        return torch.as_tensor(out.log_probs[:, -T:])

    def alone() -> Tensor:
        logits_BTV = model(input_ids=ids_BL, attention_mask=mask_BL, logits_to_keep=T + 1, use_cache=False).logits[
            :, :-1
        ]
        return torch.as_tensor(logits_BTV.float().log_softmax(-1).gather(2, ids_BL[:, -T:, None]).squeeze(2))

    def seconds(score: Callable[[], Tensor]) -> float:
        start = time.perf_counter()
        score().sum().backward()  # type: ignore[no-untyped-call]
        model.zero_grad()
        return time.perf_counter() - start

    difference = (fused() - alone()).abs().max().item()
    pairs = [(seconds(fused), seconds(alone)) for _ in range(5)]
    ratios = [a / b for a, b in pairs]
    print(f"{B} rows of {P} + {T} tokens, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"largest difference of a log-probability: {difference:.1e}")
    print(f"fused, every position  {statistics.median(a for a, _ in pairs):7.2f} s")
    print(f"completions alone      {statistics.median(b for _, b in pairs):7.2f} s")
    spread = f"{min(ratios):.1f} to {max(ratios):.1f} over {len(ratios)} pairs"
    print(f"ratio                  {statistics.median(ratios):7.1f}   ({spread})")


if __name__ == "__main__":
    main()
