"""Which checkpoint a run goes on from."""

import pytest

from rankrl.errors import DataError
from rankrl.training.checkpoints import last_complete_checkpoint, restore


def checkpoint(folder, step, *, processes=1, saved=None):
    made = folder / f"checkpoint-{step}"
    made.mkdir()
    names = ["rng_state.pth"] if processes == 1 else [f"rng_state_{i}.pth" for i in range(processes)]
    for name in names:
        (made / name).touch()
    for i in range(processes if saved is None else saved):
        (made / f"rankrl_state_{i}.pt").touch()
    return made


def test_the_newest_is_that_of_the_highest_step_not_of_the_last_name(tmp_path):
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete_checkpoint(tmp_path) == newest


@pytest.mark.parametrize("saved", [0, 1])
def test_one_that_not_all_processes_finished_is_passed_over(tmp_path, saved):
    complete = checkpoint(tmp_path, 2, processes=2)
    checkpoint(tmp_path, 4, processes=2, saved=saved)
    assert last_complete_checkpoint(tmp_path) == complete


def test_nothing_to_resume_from_is_said(tmp_path):
    checkpoint(tmp_path, 2, saved=0)
    with pytest.raises(DataError, match="no complete checkpoint to resume from"):
        last_complete_checkpoint(tmp_path)


def test_one_that_was_cut_off_is_refused_by_name(tmp_path):
    class Trainer:
        class args:
            process_index = 1

    with pytest.raises(DataError, match=r"has no rankrl_state_1\.pt: it was cut off"):
        restore(Trainer(), checkpoint(tmp_path, 3))
    with pytest.raises(DataError, match="checkpoint not found"):
        restore(Trainer(), tmp_path / "gone")
