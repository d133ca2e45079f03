"""`--peft`: LoRA, none, or any adapter of PEFT's own format; what would break the KL reference is refused."""

import json

import pytest

from rankrl.errors import ConfigError, DataError
from rankrl.training.adapters import peft_config, policy_of


def config_file(folder, **fields):
    path = folder / "adapter.json"
    path.write_text(json.dumps(fields))
    return str(path)


def test_lora_is_on_all_linear_layers_and_none_is_none():
    config = peft_config("lora", rank=4, alpha=8, beta=0.0)
    assert (config.r, config.lora_alpha, config.target_modules) == (4, 8, "all-linear")
    assert peft_config("none", rank=4, alpha=8, beta=0.0) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"peft_type": "LORA", "use_dora": True},
        {"peft_type": "VERA", "r": 8},
        {"peft_type": "IA3"},
        {"peft_type": "oft"},
    ],
)
def test_any_adapter_of_peft_is_accepted(fields, tmp_path):
    config = peft_config(config_file(tmp_path, task_type="CAUSAL_LM", **fields), rank=1, alpha=1, beta=0.1)
    assert config.peft_type == fields["peft_type"].upper()


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora"])
def test_an_initialisation_that_rewrites_the_base_is_refused_with_kl(init, tmp_path):
    spec = config_file(tmp_path, peft_type="LORA", init_lora_weights=init)
    with pytest.raises(ConfigError, match="KL reference would not be the initial policy"):
        peft_config(spec, rank=1, alpha=1, beta=0.01)
    assert peft_config(spec, rank=1, alpha=1, beta=0.0).init_lora_weights == init


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON object"),
        ('{"r": 8}', "peft_type is ''"),
        ('{"peft_type": "LORAX"}', "LORAX"),
        ('{"peft_type": "LORA", "rr": 8}', "rr"),
    ],
)
def test_a_file_that_peft_cannot_read_says_why(content, message, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        peft_config(str(tmp_path / "a.json"), rank=1, alpha=1, beta=0.0)


def test_a_missing_file_and_another_word_are_refused(tmp_path):
    with pytest.raises(DataError, match="PEFT configuration not found"):
        peft_config(str(tmp_path / "gone.json"), rank=1, alpha=1, beta=0.0)
    with pytest.raises(ConfigError, match="'lora', 'none' or a JSON file"):
        peft_config("dora", rank=1, alpha=1, beta=0.0)


def test_an_adapter_folder_is_trained_further_and_not_wrapped_again(tiny_model_dir, tmp_path):
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    lora = peft_config("lora", rank=2, alpha=4, beta=0.0)
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.bfloat16), lora).save_pretrained(
        tmp_path / "a"
    )
    model, wrap = policy_of(str(tmp_path / "a"), "lora", lora)
    assert wrap is None and any(p.requires_grad for n, p in model.named_parameters() if "lora_A" in n)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert policy_of(str(tiny_model_dir), "lora", lora) == (str(tiny_model_dir), lora)
    with pytest.raises(ConfigError, match="drop --peft none"):
        policy_of(str(tmp_path / "a"), "none", None)
