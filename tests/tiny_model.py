"""A random Qwen2 of a few hundred thousand weights with a byte-level BPE tokenizer, made in about a second, offline."""

from __future__ import annotations

from pathlib import Path

TEXT = """
A retrieval system finds passages for a query, and a reranker puts the best passage first. Read each passage, compare it
with the query, think about what the question asks, and name the label of the most relevant one. The heart pumps blood
through the arteries and the lungs; a vaccine teaches the immune system to recognise a virus before an infection. Cells
divide, proteins fold, genes are expressed, mice are treated with a drug, and patients in a clinical trial receive a dose or
a placebo. The trial shows an increase or a decrease in risk, with a confidence interval, and the difference is significant
or it is not. Goethe wrote Faust; Shakespeare wrote Hamlet; Kafka wrote The Trial. Rivers run from the mountains to the sea,
the moon orbits the earth, the earth orbits the sun, and light needs eight minutes for the way. Paris is the capital of
France, Rome of Italy, Tokyo of Japan. Bread is made of flour, water, salt and yeast; cheese is made of milk. A computer
program reads numbers, sorts them in ascending order, writes the result to a file and stops. Reinforcement learning rewards
good answers: the policy samples several completions of one prompt, the reward compares them, and the gradient makes the
better ones more likely. This work studies the effect of training on the quality of rankings with fewer labelled documents.
<think> </think> <answer> </answer> [1] [2] [3] [4] [5] [6] [7] [8] [9] [10] [11] [12] [13] [14] [15] [16] [17] [18] [19] [20]
"""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build(
    folder: str | Path,
    *,
    seed: int = 0,
    hidden_size: int = 64,
    layers: int = 2,
    context: int = 4096,
    initializer_range: float = 0.02,
) -> Path:
    """The folder, now with config, weights and tokenizer. Equal arguments give equal bytes of weights.

    With the usual initializer_range the likeliest token repeats the last one; with 0.3 answers differ with the prompt.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        TEXT.splitlines(),
        trainers.BpeTrainer(vocab_size=768, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=context,
    )
    tokenizer.chat_template = CHATML
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=initializer_range,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)
