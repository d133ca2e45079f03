"""The settings of a policy-gradient run: ours on top of every flag of TRL's GRPOConfig."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import GRPOConfig

from rankrl.errors import ConfigError


@dataclass
class PolicyConfig(GRPOConfig):  # type: ignore[misc]  # trl carries no types
    """Thirteen settings of our own; what TRL and the Trainer have already keeps its name (`--beta`, `--num_generations` …).

    Defaults that differ from TRL's: learning_rate 1e-5 (Rank-R1's, for LoRA); on a machine without a GPU use_cpu, float32
    and no gradient checkpointing, where TRL would refuse or crawl.
    """

    model: str | None = field(default=None, metadata={"help": "the policy: a folder with config.json, or a hub name"})
    reward: list[str] | None = field(
        default=None,
        metadata={
            "help": "rewards: NAME, NAME=WEIGHT, 'NAME(option=value)=WEIGHT' or package.module:function; several are summed. "
            "Shapers such as unlikeliness scale that sum. Default: the reranker's own"
        },
    )
    reranker: str = field(
        default="rank_r1", metadata={"help": "whose prompt and parser are trained (rankrl list rerankers)"}
    )
    reranker_options: list[str] = field(
        default_factory=list, metadata={"help": "fields of the reranker: name=value, e.g. num_child=3 template=brief"}
    )
    collection: str = field(default="scifact", metadata={"help": "a bundled collection or a folder in BEIR layout"})
    split: str = field(default="train", metadata={"help": "the topics that are trained on"})
    first_stage: str | None = field(
        default=None, metadata={"help": "TREC run with the candidates of these topics; default: BM25 is run"}
    )
    depth: int = field(
        default=100, metadata={"help": "candidates of the first stage that other passages are drawn from"}
    )
    listing_size: int | None = field(
        default=None,
        metadata={
            "help": "passages in a training prompt, one relevant, the others drawn; default: what the reranker shows"
        },
    )
    held_out_topics: int = field(
        default=50, metadata={"help": "topics kept for evaluation; none of their relevant documents is trained on"}
    )
    held_out_depth: int = field(default=20, metadata={"help": "candidates reranked per held-out topic in evaluation"})
    peft: str = field(default="lora", metadata={"help": "lora, none, or a JSON file with any PEFT configuration"})
    lora_r: int = field(default=16, metadata={"help": "rank of the default LoRA; its alpha is twice the rank"})
    learning_rate: float = field(default=1e-5, metadata={"help": "the optimizer's initial learning rate"})
    gradient_checkpointing: bool | None = field(
        default=None, metadata={"help": "save memory by recomputing; default: only where there is a GPU"}
    )

    def __post_init__(self) -> None:
        import torch

        gpu = torch.cuda.is_available()
        if not gpu:
            self.use_cpu = True
            self.bf16: bool | None = bool(getattr(self, "bf16", None))
        recompute = gpu if self.gradient_checkpointing is None else self.gradient_checkpointing
        if hasattr(self, "activation_checkpointing"):  # its name since transformers 5.18, which warns about the old one
            self.gradient_checkpointing = None
            if self.activation_checkpointing is None:
                self.activation_checkpointing: bool | None = recompute
        else:
            self.gradient_checkpointing = recompute
        super().__post_init__()
        for name, least in (
            ("depth", 1),
            ("listing_size", 2),
            ("held_out_topics", 0),
            ("held_out_depth", 1),
            ("lora_r", 1),
        ):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
