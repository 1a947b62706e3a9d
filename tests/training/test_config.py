"""What the flags mean, the learning rates over time, and when a training ends."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glip_cli.errors import UsageError
from glip_cli.training.config import TrainConfig, parse_sides, parse_steps
from glip_cli.training.optim import LOWEST, EarlyStopping, Left, left, rate, set_rates


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("epochs", 0, "epochs 0: give a number of at least 1"),
        ("batch_size", -1, "batch_size -1: give a number of at least 1"),
        ("lr", 0.0, "lr 0: give a number greater than 0"),
        ("lr", math.nan, "lr nan: give a number greater than 0"),
        ("language_lr", math.inf, "language_lr inf: give a number greater than 0"),
        ("weight_decay", -0.1, "weight_decay -0.1: give a number of at least 0"),
        ("ema", 1.0, "ema 1: give a decay from 0 to below 1, as 0.999"),
        ("mode", "everything", "mode everything: there are full, head, prompt, lora"),
        ("schedule", "linear", "schedule linear: there are auto, steps, cosine, constant"),
        ("optimizer", "sgd", "optimizer sgd: there are adamw, muon"),
        ("lr", 1e300, "lr 1e+300: give a rate of at most 1e+06"),
        ("muon_lr", 1e300, "muon_lr 1e+300: give a rate of at most 1e+06"),
        ("muon_lr", 1e-3, "muon_lr 0.001: it goes with --optimizer muon"),
        ("level_factor", 0, "level_factor 0: give a number greater than 0"),
        (
            "freeze_backbone_at",
            6,
            "freeze_backbone_at 6: -1 trains all of the backbone, 2 all but its first stage, 5 none of its stages",
        ),
        (
            "freeze_backbone_at",
            -2,
            "freeze_backbone_at -2: -1 trains all of the backbone, 2 all but its first stage, 5 none of its stages",
        ),
        ("lora_rank", 0, "lora_rank 0: give a number from 1 to 1024"),
        ("lora_rank", 10**9, "lora_rank 1000000000: give a number from 1 to 1024"),
        ("lora_alpha", math.nan, "lora_alpha nan: give a number greater than 0"),
        ("seed", -1, "seed -1: give a number from 0 to 9223372036854775807"),
        ("seed", 2**63, "seed 9223372036854775808: give a number from 0 to 9223372036854775807"),
        ("size", (480, 16), "size 480,16: give sides of 32 to 10000 pixels, as 480,560,640"),
        ("max_size", 20_000, "max_size 20000: give a limit of 32 to 10000 pixels"),
        ("steps", (0.9, 0.5), "steps 0.9,0.5: give rising shares of the training, as 0.67,0.89"),
        ("steps", (0.5, 1.0), "steps 0.5,1: give rising shares of the training, as 0.67,0.89"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(field: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError) as error:
        replace(TrainConfig(), **{field: value})
    assert str(error.value) == said


def test_official_defaults_of_each_mode() -> None:
    """microsoft/GLIP README, "Fine-tuning" and "Prompt tuning"."""
    full, prompt = (TrainConfig.of(mode, watched=True) for mode in ("full", "prompt"))
    assert (full.lr, full.language_lr, full.weight_decay, full.freeze_backbone_at) == (1e-4, 1e-5, 0.05, 2)
    assert (full.schedule, full.step_patience, full.patience, full.clip, full.epochs) == ("auto", 3, 8, 1.0, 200)
    assert (prompt.lr, prompt.weight_decay) == (0.05, 0.25)


def test_glip_mini_has_rates_of_its_own() -> None:
    """Those that were measured on blood cells; other architectures have the official ones."""
    full, lora, head, prompt = (
        TrainConfig.of(mode, watched=True, architecture="glip-mini") for mode in ("full", "lora", "head", "prompt")
    )
    assert (full.lr, full.language_lr, full.freeze_backbone_at) == (4e-4, 4e-4, -1)
    assert (lora.lr, lora.language_lr, head.lr, prompt.lr) == (2e-3, 2e-3, 2e-3, 0.05)
    assert TrainConfig.of("full", watched=True, architecture="glip-t") == TrainConfig.of("full", watched=True)
    assert TrainConfig.of("full", watched=True, architecture="glip-mini", lr=1e-3).lr == 1e-3


def test_glip_nano_has_lower_rates() -> None:
    of = {mode: TrainConfig.of(mode, watched=True, architecture="glip-nano") for mode in ("full", "head", "prompt")}
    full, head, prompt = of.values()
    assert (full.lr, full.language_lr, full.freeze_backbone_at) == (5e-5, 2e-4, -1)
    assert head.lr == head.language_lr == 2e-4
    assert prompt.lr < 0.05


def test_settings_in_words() -> None:
    assert str(TrainConfig.of("prompt", watched=False, size=(96, 160), clip=2.0)) == (
        "mode prompt, lr 0.05, weight-decay 0.25, batch-size 4, epochs 12, schedule steps, seed 10, size 96,160, clip 2"
    )


def test_what_is_given_beats_what_the_mode_says() -> None:
    recipe = TrainConfig.of("prompt", watched=True, lr=0.01, weight_decay=None, epochs=3)
    assert (recipe.lr, recipe.weight_decay, recipe.epochs) == (0.01, 0.25, 3)


def test_without_validation_the_rates_fall_at_set_times() -> None:
    recipe = TrainConfig.of("full", watched=False)
    assert (recipe.schedule, recipe.epochs) == ("steps", 12)
    with pytest.raises(UsageError, match="--val"):
        TrainConfig.of("full", watched=False, schedule="auto")


def test_steps_are_read_from_a_flag() -> None:
    assert parse_steps("0.67,0.89") == (0.67, 0.89)
    with pytest.raises(UsageError, match="--steps half"):
        parse_steps("half")


def test_rates_by_hand() -> None:
    """Warm-up from a thousandth over 4 steps; x0.1 at 67 % and 89 % of 100 steps."""
    recipe = TrainConfig(schedule="steps", warmup=4)
    rates = [rate(1.0, recipe, step, 100, 0) for step in (0, 2, 4, 66, 67, 88, 89, 99)]
    assert rates == pytest.approx([0.001, 0.5005, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert [rate(1.0, replace(recipe, schedule="constant"), step, 100, 5) for step in (4, 99)] == [1, 1]


def test_half_a_cosine_by_hand() -> None:
    """Warm-up over 20 of 120 steps; then 1, at half of the way the mean of 1 and 0.01, at the end 0.01."""
    recipe = TrainConfig(schedule="cosine", warmup=20)
    rates = [rate(2.0, recipe, step, 120, 3) for step in (0, 20, 70, 120)]
    assert rates == pytest.approx([0.002, 2, 1.01, 0.02])


def test_sides_are_read_from_a_flag() -> None:
    assert parse_sides("480,560,640") == (480, 560, 640)
    assert parse_sides("160") == (160,)
    with pytest.raises(UsageError, match="--size 800x1333: give shorter sides in pixels, as 480,560,640"):
        parse_sides("800x1333")


def test_muon_goes_with_all_weights_only() -> None:
    with pytest.raises(UsageError, match="optimizer muon: the other modes train few matrices"):
        TrainConfig.of("lora", watched=True, optimizer="muon")


def test_auto_step_stops_at_the_lowest_rate() -> None:
    recipe = TrainConfig()
    assert [rate(1e-4, recipe, 0, 1, drops) for drops in range(4)] == pytest.approx([1e-4, 1e-5, LOWEST, LOWEST])
    assert rate(1e-7, recipe, 0, 1, 3) == 1e-7


def test_each_group_has_its_own_rate() -> None:
    groups: list[dict[str, Any]] = [{"peak": 1e-3}, {"peak": 1e-4}]
    set_rates(groups, TrainConfig(), 0, 1, 1)
    assert [group["lr"] for group in groups] == pytest.approx([1e-4, 1e-5])


def test_a_scripted_training_by_hand() -> None:
    """Patience 1 for the rates, 3 for the end."""
    watch = EarlyStopping(step_patience=1, patience=3)
    aps = [0.1, 0.3, 0.2, 0.3, 0.29, 0.28, 0.27]
    told = [(watch.tell(ap, step), watch.drops, watch.worse, watch.stops) for step, ap in enumerate(aps)]
    assert told == [
        (True, 0, 0, False),
        (True, 0, 0, False),
        (False, 0, 1, False),
        (True, 1, 0, False),  # as good as the best is kept, but is no better: two without a better one
        (False, 1, 1, False),
        (False, 2, 2, False),
        (False, 2, 3, True),
    ]
    assert (watch.best, watch.best_step) == (0.3, 3)


def test_an_ap_of_zero_lowers_no_rate_and_ends_nothing() -> None:
    watch = EarlyStopping(step_patience=0, patience=2)
    for step in range(10):
        assert watch.tell(0.0, step)
    assert (watch.drops, watch.stops) == (0, False)


def test_the_time_that_is_left_by_hand() -> None:
    """Epochs of 10 steps of 2 s and 5 s of validation, after step 14: 12 s of steps and 5 s to the second's end."""
    watch = EarlyStopping(step_patience=3, patience=4, best=0.5, worse=1)
    assert left(watch, 14, 10, 20, 2.0, 5.0) == Left(17.0, 17.0 + 2 * 25.0, 17.0 + 18 * 25.0)
    assert left(None, 14, 10, 20, 2.0, 5.0) == Left(17.0, 17.0 + 18 * 25.0, 17.0 + 18 * 25.0)
    assert left(watch, 20, 10, 3, 2.0, 5.0) == Left(5.0, 30.0, 30.0)


@given(st.lists(st.floats(0.01, 1), max_size=30), st.integers(0, 4))
def test_the_rates_fall_as_torch_lets_them(aps: list[float], patience: int) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=patience, min_lr=LOWEST)
    watch, recipe = EarlyStopping(patience, 1000), TrainConfig()
    for step, ap in enumerate(aps):
        watch.tell(ap, step)
        oracle.step(ap)
        assert rate(1.0, recipe, step, 1000, watch.drops) == pytest.approx(optimizer.param_groups[0]["lr"])


@given(st.lists(st.floats(0, 1), max_size=30))
def test_what_validation_said_survives_as_a_dict(aps: list[float]) -> None:
    watch, again = EarlyStopping(2, 5), EarlyStopping(2, 5)
    for step, ap in enumerate(aps):
        again = EarlyStopping(**asdict(again))
        assert watch.tell(ap, step) == again.tell(ap, step)
    assert watch == again
