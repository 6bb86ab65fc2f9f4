"""The form of load options, the memory that loading takes, and the command line, without a service."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QComboBox, QLineEdit, QPushButton, QToolButton, QWidget
from pytestqt.qtbot import QtBot

from llama_runner.control.values import Plan, PlannedModel, PlanPart, ServedAdapter, ServedModel
from llama_runner.core.load_options import FLAGS, LoadOptions
from llama_runner.ui.tabs.models_form import OptionsForm
from llama_runner.ui.tabs.models_offers import offers_for
from llama_runner.ui.tabs.models_option_row import info_of, option_text, read_option
from llama_runner.ui.tabs.models_options import command_text
from llama_runner.ui.tabs.models_plan import memory_bars, plan_words
from llama_runner.ui.theme import Theme, ThemeMode
from llama_runner.ui.widgets.stacked_bar import widths

GIB = 1024**3
PLAN = Plan(
    "m", 3 * GIB, False, 4 * GIB, None, True, False, (), (),
    need_ram_bytes=3 * GIB, free_ram_bytes=4 * GIB,
    parts=(PlanPart("weights", 2 * GIB, 0), PlanPart("context", GIB, 0), PlanPart("work", 0, 0)),
)  # fmt: skip
MODEL = ServedModel(
    "big",
    "/m/big.gguf",
    "models folder",
    size_bytes=9 * GIB,
    architecture="llama",
    capabilities=("completion",),
)


@pytest.fixture(scope="module")
def one_form(qapp: QApplication) -> Iterator[OptionsForm]:
    theme = Theme(qapp, ThemeMode.LIGHT)
    made = OptionsForm(theme)
    made.resize(420, 600)
    made.show()
    yield made
    made.close()
    made.deleteLater()
    theme.deleteLater()


@pytest.fixture
def form(one_form: OptionsForm) -> Iterator[OptionsForm]:
    """One for all, as it was at first: its two hundred widgets are made once."""
    yield one_form
    one_form.set_options(LoadOptions())
    one_form.offer({})


def named(root: QWidget, name: str) -> QWidget:
    (found,) = [w for w in root.findChildren(QWidget) if w.accessibleName() == name]
    return found


def test_what_is_wrong_with_a_field_comes_into_sight_in_a_small_window(
    form: OptionsForm, qtbot: QtBot
) -> None:
    """1024 x 600 leaves room for two fields: the words below the second would be out of sight."""
    form.resize(420, 150)
    row = form.rows["parallel"]
    try:
        row.set_text("1")
        assert row.problem == ""
        row.set_text("0")
        problem = named(form, f"Problem with {row.info.title}")
        qtbot.waitUntil(lambda: problem.visibleRegion().boundingRect().height() == problem.height() > 0)
    finally:
        form.resize(420, 600)


def test_every_option_of_the_catalogue_has_a_row_with_help_and_bounds(form: OptionsForm) -> None:
    assert list(form.rows) == list(FLAGS)
    for name, row in form.rows.items():
        info = info_of(name)
        assert row.control.accessibleName() == info.title
        assert info.help in row.control.accessibleDescription()
        assert FLAGS[name].name in row.control.toolTip()
    assert "From 1 to 256" in form.rows["parallel"].control.accessibleDescription()


def test_what_is_entered_becomes_options_and_comes_back_as_entered(form: OptionsForm) -> None:
    wanted = LoadOptions(
        context_length=4096,
        unified_context=False,
        cache_type_k="q8_0",
        rope_scale=0.5,
        tensor_split=(3.0, 1.5),
        loras=("a.gguf", "b.gguf:0.5"),
        chat_template="chatml",
    )
    form.set_options(wanted)
    assert form.valid
    assert form.options == wanted
    assert option_text(wanted.tensor_split) == "3, 1.5"
    form.reset()
    assert form.options == LoadOptions()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("parallel", "0", "Must be a whole number from 1 to 256 slots."),
        ("parallel", "many", "Must be a whole number from 1 to 256 slots."),
        ("context_length", "4 000", "Must be a whole number"),
        ("chat_template", "../evil", "Must be a name of letters"),
        ("engine", "a b", "Must be a name of at most 64"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(name: str, text: str, words: str) -> None:
    """U17: what the service would refuse is refused here, by the same rule."""
    value, problem = read_option(name, text)
    assert value is None
    assert problem.startswith(words)


def test_a_wrong_number_is_marked_and_keeps_the_form_from_being_used(form: OptionsForm) -> None:
    edited: list[None] = []
    form.edited.connect(lambda: edited.append(None))
    row = form.rows["parallel"]
    assert isinstance(row.control, QLineEdit)
    QTest.keyClicks(row.control, "999")
    assert len(edited) == 3
    assert not form.valid
    assert row.control.property("invalid") is True
    assert form.options.parallel is None
    back = named(form, "Reset: Parallel requests")
    assert isinstance(back, QToolButton)
    back.click()
    assert form.valid
    assert row.text == ""
    assert QApplication.focusWidget() in (row.control, None)


def test_a_search_opens_groups_and_hides_what_was_not_meant(form: OptionsForm) -> None:
    search = named(form, "Search options")
    assert isinstance(search, QLineEdit)
    assert not form.rows["threads"].isVisible()
    search.setText("THREADS")
    assert form.rows["threads"].isVisible()
    assert not form.rows["context_length"].isVisible()
    # Also by the engine's own word.
    search.setText("--ctx-size")
    assert [name for name, row in form.rows.items() if row.isVisible()] == ["context_length"]
    search.clear()
    assert form.rows["context_length"].isVisible()
    assert not form.rows["threads"].isVisible()


def test_groups_say_how_much_of_them_is_set_and_all_is_reset_at_once(form: OptionsForm) -> None:
    reset = named(form, "Reset all options")
    assert isinstance(reset, QPushButton)
    assert not reset.isEnabled()
    form.set_options(LoadOptions(context_length=512, parallel=2, gpu_layers=0))
    names = {button.accessibleName() for button in form.findChildren(QPushButton)}
    assert {"Context (2 set)", "Graphics card (1 set)"} <= names
    reset.click()
    assert form.options == LoadOptions()
    assert not reset.isEnabled()


def test_a_turn_of_the_wheel_changes_nothing_that_has_no_focus(form: OptionsForm) -> None:
    box = form.rows["unified_context"].control
    assert isinstance(box, QComboBox)
    turn = QWheelEvent(
        QPointF(3, 3), box.mapToGlobal(QPointF(3, 3)), QPoint(0, 0), QPoint(0, -120),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(box, turn)
    assert form.rows["unified_context"].text == ""


def test_adapters_are_added_to_each_other_and_a_draft_takes_the_place_of_another(form: OptionsForm) -> None:
    file = replace(
        MODEL,
        projector="/m/mmproj-big.gguf",
        adapters=(ServedAdapter("a", "/m/a.gguf", 5), ServedAdapter("b", "/m/b.gguf", 5)),
    )
    small = replace(MODEL, id="small", size_bytes=GIB)
    others = (
        file,
        small,
        replace(small, id="alien", architecture="gemma"),
        replace(small, id="bad", problem="x"),
    )
    form.offer(offers_for(file, others, ("fast", "old")))
    pick(form, "loras", 0)
    pick(form, "loras", 1)
    pick(form, "loras", 0)
    assert form.options.loras == ("/m/b.gguf", "/m/a.gguf")
    assert titles(form, "draft_model") == ["small (1.00 GiB)"]
    pick(form, "draft_model", 0)
    pick(form, "draft_model", 0)
    assert form.options.draft_model == "small"
    assert titles(form, "projector") == ["mmproj-big.gguf", "none"]
    pick(form, "engine", 1)
    assert form.options.engine == "old"
    form.offer({})
    assert not named(form, "Choose: Adapters").isVisible()


def menu_of(form: OptionsForm, name: str) -> QToolButton:
    button = named(form.rows[name], f"Choose: {info_of(name).title}")
    assert isinstance(button, QToolButton)
    return button


def titles(form: OptionsForm, name: str) -> list[str]:
    return [action.text() for action in menu_of(form, name).menu().actions()]


def pick(form: OptionsForm, name: str, number: int) -> None:
    menu_of(form, name).menu().actions()[number].trigger()


# --- memory and command ------------------------------------------------------------------------------------


def test_memory_is_told_by_part_against_what_is_free() -> None:
    (bar,) = memory_bars(PLAN)
    assert bar.title == "3.00 GiB of 4.00 GiB free RAM · ● fits"
    assert [(part.title, part.text) for part in bar.parts] == [
        ("Weights", "2.00 GiB"),
        ("Context", "1.00 GiB"),
    ]
    assert (bar.whole, bar.mark, bar.status) == (4 * GIB, None, "good")


def test_what_does_not_fit_is_told_with_the_limit_marked() -> None:
    (bar,) = memory_bars(replace(PLAN, free_ram_bytes=GIB, fits=False))
    assert "✕ too large" in bar.title
    assert (bar.whole, bar.mark, bar.status) == (3 * GIB, GIB, "bad")
    leaves = PlannedModel("i1", "old", GIB, 0, 9.0, False)
    (bar,) = memory_bars(replace(PLAN, free_ram_bytes=GIB, evict=(leaves,)))
    assert "fits when others leave" in bar.title


def test_graphics_cards_have_a_bar_of_their_own() -> None:
    parts = (PlanPart("weights", GIB, GIB),)
    ram, vram = memory_bars(
        replace(
            PLAN, parts=parts, need_ram_bytes=GIB, need_vram_bytes=GIB, free_vram_bytes=2 * GIB, measured=True
        )
    )
    assert ram.title.endswith("● fits · measured")
    assert vram.title == "1.00 GiB of 2.00 GiB free GPU memory · ● fits · measured"
    assert [part.text for part in vram.parts] == ["1.00 GiB"]


def test_warnings_of_a_plan_are_read_before_loading() -> None:
    assert plan_words(replace(PLAN, warnings=("Nothing is encrypted.",))).endswith("Nothing is encrypted.")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1.0, 1.0), (50.0, 50.0)),
        ((1.0, 0.0), (50.0, 0.0)),
        ((1e-9, 1.0), (2.0, 50.0)),
        ((3.0, 3.0), (50.0, 50.0)),
    ],
)
def test_parts_of_a_bar_are_seen_however_small_and_never_leave_it(
    values: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    assert widths(values, 2.0, 100.0) == pytest.approx(expected)
    assert widths(values, 0.0, 100.0) == (0.0, 0.0)


def test_a_command_line_is_quoted_for_the_shell_of_its_system() -> None:
    command = ("/opt/my engine/llama-server", "--alias", "it's")
    assert command_text(command, platform="linux") == "'/opt/my engine/llama-server' --alias 'it'\"'\"'s'"
    assert command_text(("C:\\a b\\x.exe", "-c", "1"), platform="win32") == '"C:\\a b\\x.exe" -c 1'
