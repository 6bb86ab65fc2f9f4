"""What the models tab says of files, of what runs, of requests and routes: words and figures alone."""

from dataclasses import replace

import pytest
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from llama_runner.control.routes import Route, RouteList, RouteStep
from llama_runner.control.serving import InstanceActivity
from llama_runner.control.values import (
    Instance,
    ProxiedRequest,
    ProxyFace,
    ServedAdapter,
    ServedModel,
    TriedStep,
)
from llama_runner.ui.tabs.models_columns import columns
from llama_runner.ui.tabs.models_facts import activity_facts, file_facts, instance_facts
from llama_runner.ui.tabs.models_log import matching
from llama_runner.ui.tabs.models_requests import RequestsView, request_facts
from llama_runner.ui.tabs.models_route_lines import lines_of, state_text
from llama_runner.ui.tabs.models_rows import ModelLine, abilities_text, fit_sentence, fit_text, search_text
from llama_runner.ui.tabs.models_serve import reach_words
from llama_runner.ui.tabs.models_waterfall import stage_words, stages, whole_s
from llama_runner.ui.theme import DARK, LIGHT, Theme, ThemeMode
from llama_runner.ui.tick import TickPictures
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.stacked_bar import Part, paint_parts
from llama_runner.ui.widgets.tables import DataTable

GIB = 1024**3
FILE = ServedModel(
    "m",
    "/models/m.gguf",
    "Hugging Face",
    size_bytes=5 * GIB,
    architecture="llama",
    quantization="Q4_K_M",
    context_length=8192,
    parameter_count=7_240_000_000,
    block_count=32,
    capabilities=("completion", "tools", "vision"),
    license="apache-2.0",
    base_model="Base 7B",
    parts=3,
    template_sha256="0123456789abcdef",
    template_changed=True,
    projector="/models/mmproj-m.gguf",
    adapters=(ServedAdapter("style", "/models/style.gguf", 9),),
    fit="tight",
    need_bytes=6 * GIB,
    room_bytes=8 * GIB,
    warnings=("A key is longer than it should be.",),
)
REQUEST = ProxiedRequest(
    1, "/v1/x", "m", "2026-01-01T00:00:00+00:00", True, 200, "done",
    queue_s=0.1, load_s=1.0, upstream_s=0.5, first_byte_s=1.7, own_s=0.1, total_s=3.7,
    bytes_sent=10, error=None, prefill_s=0.3, decode_s=1.9, prompt_tokens=60, output_tokens=95,
)  # fmt: skip


def facts(line: ModelLine) -> dict[str, str]:
    return {fact.title: fact.text for fact in file_facts(line)}


def test_a_card_says_all_that_is_known_of_a_file() -> None:
    told = facts(ModelLine(FILE, None))
    assert told["Fit"] == "◑ tight"
    assert told["Can"] == "chat, tools, images"
    assert told["Parameters"] == "7,240 million in 32 layers"
    assert told["Size"] == "5.00 GiB in 3 parts"
    assert told["Chat template"] == "0123456789ab (changed since last time)"
    assert told["Projector"] == "mmproj-m.gguf"
    assert told["Adapters"] == "style"
    assert told["Made from"] == "Base 7B"
    assert told["License"] == "apache-2.0"
    assert told["Odd"] == "A key is longer than it should be."


def test_what_is_not_known_is_a_dash_and_what_is_rare_has_no_line() -> None:
    told = facts(ModelLine(ServedModel("m", "/m.gguf", "models folder"), None))
    assert (told["Fit"], told["Can"], told["Parameters"], told["Size"]) == ("–", "–", "–", "–")
    assert {"License", "Projector", "Odd", "Chat template"}.isdisjoint(told)


def test_fit_is_a_mark_with_a_word_and_its_numbers_behind_it() -> None:
    line = ModelLine(FILE, None)
    assert fit_sentence(line).startswith("Takes about 6.00 GiB of the 8.00 GiB")
    assert "shorter context" in fit_sentence(line)
    assert [fit_text(ModelLine(replace(FILE, fit=mark), None)) for mark in ("fits", "too large", None)] == [
        "● fits",
        "✕ too large",
        "–",
    ]
    assert "not known" in fit_sentence(ModelLine(replace(FILE, need_bytes=None), None))


def test_a_filter_finds_what_a_model_can_and_whether_it_fits() -> None:
    line = ModelLine(FILE, None)
    assert all(
        word in search_text(line).casefold() for word in ("images", "tight", "base 7b", "apache", "hugging")
    )
    assert abilities_text(ModelLine(replace(FILE, capabilities=("something new",)), None)) == "something new"


def test_models_are_sorted_by_what_they_take_of_the_machine(qapp: QApplication, qtbot: QtBot) -> None:
    theme = Theme(qapp, ThemeMode.LIGHT)
    table: DataTable[ModelLine] = DataTable(columns(theme), lambda line: line.file.id, name="models")
    qtbot.addWidget(table)
    small, unknown = replace(FILE, id="s", need_bytes=GIB), replace(FILE, id="u", need_bytes=None)
    table.set_rows([ModelLine(one, None) for one in (unknown, FILE, small)])
    titles = [column.title for column in table.rows_model.columns]
    table.sortByColumn(titles.index("Fit"), Qt.SortOrder.AscendingOrder)
    assert [line.file.id for line in table.rows_model.shown] == ["s", "m", "u"]
    theme.deleteLater()


def test_what_was_not_done_as_asked_is_told_of_what_runs() -> None:
    one = Instance("i1", "m", "ready", note="Loaded with a shorter context.", profile="fast", engine="mine")
    told = {fact.title: fact.text for fact in instance_facts(ModelLine(FILE, one))}
    assert told["Not as asked"] == "Loaded with a shorter context."
    assert (told["Profile"], told["Engine"]) == ("fast", "mine")
    assert instance_facts(ModelLine(FILE, None)) == ()


def test_two_answers_of_an_engine_tell_its_speed_in_between() -> None:
    before = InstanceActivity(
        "i1", "m", slots=4, slot_context=2048, working=1, waiting=2,
        prompt_tokens=100, prompt_s=1.0, output_tokens=50, output_s=2.0, prompt_tps=100.0, decode_tps=25.0,
    )  # fmt: skip
    now = replace(
        before, output_tokens=90, output_s=3.0, decode_tps=30.0, drafted_tokens=10, accepted_tokens=7
    )
    told = {fact.title: fact.text for fact in activity_facts(now, before)}
    assert told["Slots"] == "1 of 4 in work, 2 waiting · 2,048 tokens each"
    assert told["Decode speed"] == "40.0 tok/s now · 30.0 tok/s on average"
    # It read nothing meanwhile: no speed of now.
    assert told["Prefill speed"] == "100 tok/s"
    assert told["Guesses right"] == "70.0 %"
    told = {fact.title: fact.text for fact in activity_facts(now, replace(before, id="i0"))}
    assert told["Decode speed"] == "30.0 tok/s"
    assert {fact.text for fact in activity_facts(InstanceActivity("i1", "m"), None)} == {"–"}


# --- requests ----------------------------------------------------------------------------------------------


def seconds_of(one: ProxiedRequest) -> dict[str, float]:
    return {part.title: part.value for part in stages(one)}


def test_the_stages_of_a_stream_make_up_its_whole_time() -> None:
    told = seconds_of(REQUEST)
    assert list(told) == ["Queue", "Load", "Prefill", "First token", "Our overhead", "Decode"]
    assert told["First token"] == pytest.approx(0.2)
    assert told["Decode"] == pytest.approx(2.0)
    assert sum(told.values()) == pytest.approx(REQUEST.total_s)
    assert whole_s(REQUEST) == pytest.approx(3.7)


def test_an_answer_in_one_piece_is_decoded_before_its_first_byte() -> None:
    told = seconds_of(replace(REQUEST, streamed=False, upstream_s=2.4, first_byte_s=3.6, total_s=3.6))
    assert told["Decode"] == 1.9
    assert told["First token"] == pytest.approx(0.2)


def test_what_never_came_to_it_has_no_stage() -> None:
    refused = replace(
        REQUEST, queue_s=None, load_s=None, upstream_s=None, first_byte_s=None, own_s=None, prefill_s=None
    )
    assert stages(refused) == ()
    assert stage_words(refused) == "–"
    without = replace(REQUEST, prefill_s=None)
    assert seconds_of(without)["First token"] == 0.5


def test_details_of_a_request_say_who_answered_and_who_was_tried() -> None:
    one = replace(REQUEST, step="http://192.0.2.7", tried=(TriedStep("local", "Out of memory."),))
    told = {fact.title: fact.text for fact in request_facts(one)}
    assert told["Prompt"] == "60 tokens at 200 tok/s"
    assert told["Output"] == "95 tokens at 50.0 tok/s"
    assert told["Answered by"] == "http://192.0.2.7"
    assert told["Tried before"] == "local: Out of memory."


def test_a_failed_request_says_why_where_it_is_read(qapp: QApplication, qtbot: QtBot) -> None:
    theme = Theme(qapp, ThemeMode.DARK)
    view = RequestsView(theme)
    qtbot.addWidget(view)
    view.show()
    view.show_requests([replace(REQUEST, outcome="failed", status=502, error="The engine ended.")])
    error = next(label for label in view.findChildren(PlainLabel) if label.objectName() == "errorText")
    assert error.isVisible()
    assert error.text() == "The engine ended."
    # The waterfall is painted, also in the row that is marked.
    assert not view.grab().isNull()
    theme.deleteLater()


# --- bars, ticks, logs, routes -----------------------------------------------------------------------------


def test_parts_are_painted_in_their_colours_and_the_limit_is_marked(qapp: QApplication) -> None:
    theme = Theme(qapp, ThemeMode.LIGHT)
    image = QImage(100, 12, QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.white)
    painter = QPainter(image)
    parts = (Part("a", 1.0, "", 0), Part("b", 1.0, "", 2))
    paint_parts(painter, QRectF(0, 1, 100, 10), parts, theme=theme, whole=4.0, mark=3.0)
    painter.end()
    found = [image.pixelColor(x, 6).name().upper() for x in (10, 35, 60)]
    assert found == [LIGHT.series[0], LIGHT.series[2], LIGHT.hover]
    assert image.pixelColor(75, 6).name().upper() == LIGHT.bad
    theme.deleteLater()


def test_a_checked_box_has_a_tick_in_both_sizes_and_its_colour(qapp: QApplication) -> None:
    pictures = TickPictures()
    path = pictures.picture(DARK.on_accent)
    small, large = QImage(path), QImage(path.replace(".png", "@2x.png"))
    assert (small.width(), large.width()) == (13, 26)
    solid = [
        large.pixelColor(x, y) for x in range(26) for y in range(26) if large.pixelColor(x, y).alpha() == 255
    ]
    assert solid
    assert {one.name().upper() for one in solid} == {DARK.on_accent}


def test_a_filter_of_the_output_wants_every_word_whatever_its_case() -> None:
    lines = ["srv Listening on http", "slot 1 done", "LISTENING done"]
    assert matching(lines, "listening DONE") == ["LISTENING done"]
    assert matching(lines, "  ") == lines


def test_steps_of_routes_say_whether_they_could_answer() -> None:
    steps = (
        RouteStep("a", "local"),
        RouteStep("b@x", "http://x", passed_over=True),
        RouteStep("c@y", "http://y", problem="It wants a key."),
    )
    lines = lines_of(RouteList((Route("coder", steps),)))
    assert [line.place for line in lines] == [1, 2, 3]
    assert [state_text(line) for line in lines] == ["● ready to be asked", "◌ passed over", "✕ cannot answer"]


def test_who_reaches_an_api_beyond_this_machine_is_told() -> None:
    """C6, I8: what other machines reach is never silent."""
    face = ProxyFace(1234, "http://127.0.0.1:1234")
    assert reach_words(face) == ""
    assert reach_words(replace(face, needs_token=True)).startswith("Programs have to send")
    told = reach_words(replace(face, needs_token=True, open_to_others=True))
    assert "Other machines reach it" in told
    assert "access token" in told
