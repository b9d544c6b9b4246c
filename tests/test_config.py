"""Flags win over the environment, the environment over the defaults."""

from __future__ import annotations

import pytest

from unitscope.config import Settings, read_settings
from unitscope.engine.engine import EngineSettings
from unitscope.errors import InvalidRequest


def test_nothing_given_means_defaults() -> None:
    assert read_settings(Settings, {}) == Settings()


def test_flags_win_over_the_environment() -> None:
    environment = {
        "UNITSCOPE_GRPC_PORT": "1",
        "UNITSCOPE_HTTP_PORT": "2",
        "UNITSCOPE_MODELS": "m",
        "UNITSCOPE_DRAIN_ANNOUNCE_SECONDS": "0.5",
    }
    settings = read_settings(Settings, environment, grpc_port=3, host=None)
    assert settings == Settings(grpc_port=3, http_port=2, models="m", drain_announce_seconds=0.5)


def test_settings_inside_settings_are_read_too() -> None:
    settings = read_settings(EngineSettings, {"UNITSCOPE_MAX_STEPS": "7"})
    assert settings.limits.max_steps == 7


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"UNITSCOPE_GRPC_PORT: got 'http', expected .* int"):
        read_settings(Settings, {"UNITSCOPE_GRPC_PORT": "http"})


def test_a_choice_is_one_of_those_there_are() -> None:
    environment = {"UNITSCOPE_MODEL_CONTROL_MODE": "explicit"}
    assert read_settings(Settings, environment).model_control_mode == "explicit"
    with pytest.raises(InvalidRequest, match="got 'poll', expected one of none, explicit"):
        read_settings(Settings, {"UNITSCOPE_MODEL_CONTROL_MODE": "poll"})


def test_an_unknown_flag_is_an_error() -> None:
    with pytest.raises(TypeError, match="colour"):
        read_settings(Settings, {}, colour="red")
