"""What a visitor may do beside watching: race the champion's ghost, have M dream on, ask what if, and bend a dream."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, Page
from PIL import Image
from test_serve import Served, visit, watching

from wm_mpi.core.seeding import generator, track_seed
from wm_mpi.core.shipped import found
from wm_mpi.envs.fast import CarRacingVector
from wm_mpi.envs.fast.onlooker import OFF, Onlooker, Pose
from wm_mpi.envs.games import game_of
from wm_mpi.evolution.champion import load_trained
from wm_mpi.viewer.drive import IMAGINED
from wm_mpi.viewer.episode import Session
from wm_mpi.viewer.imagination import MOMENTS, branches, what_if
from wm_mpi.viewer.session import Part, open_session
from wm_mpi.viewer.web.race import Race
from wm_mpi.viewer.web.source import RunSource, latents_in_use

SEED = track_seed(0, 3)


@pytest.fixture(scope="module")
def part() -> Part:
    return Part.of(load_trained(found("carracing"), env=None, world=None, max_frames=60, lap_complete_percent=None,
                                deterministic=None))


def played(session: Session, frames: int) -> Session:
    session.reset(SEED)
    for _ in range(frames):
        session.advance()
    return session


def test_an_onlooker_knows_where_things_are_in_the_picture() -> None:
    """What lies on the road is drawn in its colour, also where the car has turned; beside it is grass."""
    env = CarRacingVector(1, render_mode="rgb_array", render_size=(600, 400))
    env.reset(seed=[5])
    onlooker = env.onlooker()
    for _ in range(70):
        env.step(np.array([[0.03, 0.2, 0.0]]))
    here, x, y = onlooker.pose, *onlooker.pose[:2]
    place = onlooker.place(here)
    assert place == pytest.approx((0.5, 0.75, 0, 0.0162), abs=1e-4) and here.angle != 0
    picture = env.render()[0]  # type: ignore[index]
    points = env._cars.tracks[0].points  # type: ignore[union-attr]
    seen = 0
    for _, beta, px, py in points:
        away = np.hypot(px - x, py - y)
        side = np.array([np.cos(beta), np.sin(beta)])
        for step, road in ((0.0, True), (9.5, False)):
            at = onlooker.place(Pose(px + step * side[0], py + step * side[1], 0.0))
            if 6 < away < 40 and 0.02 < at.x < 0.98 and 0.02 < at.y < 0.85:
                red, green, blue = picture[int(at.y * 400), int(at.x * 600)].astype(int)
                assert (abs(red - green) < 20 and abs(red - blue) < 20) == road, (px, py, step, (red, green, blue))
                seen += 1
    assert seen > 6
    quarter = onlooker.place(Pose(x, y, here.angle + np.pi / 2))
    assert quarter.turned == pytest.approx(-np.pi / 2)  # turned to the left in the world is so in the picture


def test_an_onlooker_knows_tiles_and_grass() -> None:
    env = CarRacingVector(1)
    env.reset(seed=[5])
    onlooker = Onlooker(env._cars)
    visited, tiles = onlooker.tiles
    assert tiles == env._cars.tracks[0].tile_count and not onlooker.off_road  # type: ignore[union-attr]
    for _ in range(100):
        env.step(np.array([[0.0, 0.5, 0.0]]))
    assert onlooker.tiles[0] > visited
    env.reset(seed=[5])
    for frame in range(400):
        env.step(np.array([[1.0 if frame > 40 else 0.0, 0.3, 0.0]]))
        points, car = env._cars.tracks[0].points[:, 2:4], env._cars.hull_xy[0]  # type: ignore[union-attr]
        assert onlooker.off_road == (np.hypot(*(points - car).T).min() > OFF)
    assert onlooker.off_road


def test_a_ghost_is_the_champion_from_the_start(part: Part) -> None:
    mine, alone = open_session(part), played(open_session(part), 0)
    mine.reset(SEED)
    race = Race(open_session(part), SEED)
    assert mine.onlooker is not None
    begun = race.told(mine.onlooker)
    assert begun["place"][:3] == [0.5, 0.75, 0] and begun["frame"] == 0
    for _ in range(30):
        mine.advance((0.0, 0.0, 0.0))
        race.advance()
        alone.advance()
    told = race.told(mine.onlooker)
    assert told["total"] == round(alone.score.total, 2) and told["place"][1] < 0.75  # ahead of who stands still
    race.finish()
    while not alone.ended:
        alone.advance()
    told = race.told(mine.onlooker)
    assert told["ended"] and (told["total"], told["frame"]) == (round(alone.score.total, 2), 60)


def test_m_dreams_on_beside_what_is_real(part: Part) -> None:
    """As the paper's dream from that moment with the same actions; what C does stays what it was, to the last bit."""
    plain, session = played(open_session(part), 20), played(open_session(part), 20)
    moment = session.moment
    assert moment is not None and session.imagined_frames is None
    session.imagine(True)
    z, (h, c), rng = moment.z, moment[2:], generator(SEED.noise, IMAGINED)
    for frame in range(1, 11):
        before = session.sight().action
        session.advance()
        plain.advance()
        assert session.action == plain.action != before
        said, z = moment.insight.dream(z, np.array([session.action]), h, c, 1.0, [rng])
        h, c = said.h, said.c
        assert session.imagined_frames == frame
        np.testing.assert_array_equal(session.sight().predicted, moment.insight.decode(z)[0])
    assert (session.sight().predicted != plain.sight().predicted).any()
    session.imagine(False)
    np.testing.assert_array_equal(session.sight().predicted, plain.sight().predicted)
    session.imagine(True)
    session.reset(SEED)
    assert session.imagined_frames is None


def test_what_if(part: Part) -> None:
    session = played(open_session(part), 20)
    moment = session.moment
    assert moment is not None
    choices = branches(session.control, session.show.look, session.action)
    assert [each.label for each in choices] == ["left", "straight on", "right"]
    assert [each.action for each in choices] == [(side, *session.action[1:]) for side in (-1, 0, 1)]
    actions = np.array([choices[0].action, choices[2].action, choices[0].action])
    strips = what_if(moment, actions, 1.0, 25, 7)
    assert strips.shape == (3, MOMENTS, 64, 64, 3) and strips.dtype == np.uint8
    np.testing.assert_array_equal(strips[0], strips[2])
    assert np.abs(strips[0, -1].astype(int) - strips[1, -1]).mean() > 1
    doom = game_of("doom")
    assert [each.label for each in branches(doom.control, doom.look, (0.2,))] == ["left", "none", "right"]
    assert branches(game_of("toy").control, game_of("toy").look, (0.0, 0.0, 0.0)) == []


@pytest.mark.parametrize("in_latents", [False, True])
def test_a_dream_that_is_bent(part: Part, in_latents: bool) -> None:
    """It goes on from there; to set what is there already changes nothing, for C neither."""
    import dataclasses

    part = dataclasses.replace(part, in_latents=in_latents)
    sessions = [played(open_session(part, dream=True), 20) for _ in range(3)]
    plain, same, other = sessions
    place = latents_in_use(part.world)[0]
    z = same.latents()
    assert z is not None
    same.bend({place: float(z[place])})
    other.bend({place: float(z[place]) + 3})
    bent = other.latents()
    assert bent is not None and np.flatnonzero(bent != z).tolist() == [place]
    assert (other.sight().seen != plain.sight().seen).any()
    for each in sessions:
        each.advance()
    np.testing.assert_array_equal(plain.latents(), same.latents())
    assert plain.action == same.action != other.action


def test_latents_in_use() -> None:
    assert latents_in_use(None) == []
    knobs = latents_in_use(found("carracing"))
    assert 5 < len(knobs) <= 16 and len(set(knobs)) == len(knobs)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with watching("--run", "carracing", "--max-frames", 100) as found:
        yield found


def test_over_the_wire(served: Served) -> None:
    with visit(served.port) as visitor:
        about = visitor.until(lambda about: about["frame"] > 2)
        assert about["tiles"][1] > 200 and not about["off"] and "race" not in about and not about["alone"]
        visitor.tell(driver="visitor")
        assert "race" not in visitor.until(lambda about: about["driver"] == "visitor")  # it would begin ahead of the ghost
        visitor.tell(restart=True, speed=8)
        about = visitor.until(lambda about: about["frame"] == 0)
        assert about["race"]["place"][:2] == [0.5, 0.75] and about["alone"]
        about = visitor.until(lambda about: about["ended"])
        assert about["race"]["ended"] and about["race"]["total"] > about["total"] and about["alone"]
        visitor.tell(driver="champion", track=3, speed=1)
        about = visitor.until(lambda about: about["track"] == 3 and about["frame"] > 2)
        assert "race" not in about and about["imagined"] is None
        visitor.tell(imagine=True)
        visitor.until(lambda about: (about["imagined"] or 0) > 3)
        visitor.tell(paused=True, branch=True)
        found = visitor.until(lambda about: "branches" in about)["branches"]
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["picture"]))))
        assert picture.shape == (3 * 64, MOMENTS * 64, 3) and picture.std() > 10
        visitor.tell(latents={"0": 2.0})  # nothing is dreamt
        visitor.tell(place="dream", paused=False)
        show = visitor.until(lambda about: "show" in about and about["place"] == "dream")["show"]
        visitor.tell(paused=True)
        about = visitor.until(lambda about: len(about.get("z", ())) == len(show["knobs"]) > 5)
        visitor.tell(latents={str(show["knobs"][2]): -3.25, "9999": 1.0})
        assert visitor.until(lambda about: about["z"][2] == -3.25)


def shows(page: Page, selector: str) -> bool:
    return page.run(f"Boolean(document.querySelector({selector!r}).getClientRects().length)")


STEPS = """(async () => {
  const shown = () => document.querySelector('#frame').textContent;
  for (let count = 0; count < %d; count++) {
    const before = shown();
    document.querySelector('#step').click();
    while (shown() === before) await new Promise(requestAnimationFrame);
  }
  return Number(shown());
})()"""


def test_every_new_control(chromium: Browser, served: Served, tmp_path: Path) -> None:
    page = chromium.page()
    page.size(1280, 800)
    page.prefer(reduced_motion="no-preference", color_scheme="light")
    page.open(f"{served.address}/?track=3&speed=0.5")
    page.until("document.querySelector('#tiles').textContent.includes('/')")
    assert not shows(page, "#latents") and not shows(page, "#branches") and not shows(page, "#pad")
    page.click("#imagine")
    page.until("document.querySelector('#predicted').nextElementSibling.textContent.includes('M alone for')")
    page.click("#branch")
    page.until("document.querySelector('#strips').naturalWidth === 320")
    assert page.run("document.querySelector('#choices').innerText").split() == ["left", "straight", "on", "right"]
    page.click("#imagine")
    page.until("document.querySelector('#predicted').nextElementSibling.textContent.includes('Predicted')")
    page.click("[data-place=dream]")
    page.until("document.querySelector('#seen').nextElementSibling.textContent.includes('Dreamt')")
    page.click("#pause")
    page.click("#latents summary")
    before = float(page.run("document.querySelector('#knobs input').value"))
    x, y = page.middle("#knobs input")
    page.call("Input.dispatchMouseEvent", type="mousePressed", x=x + 40, y=y, button="left", clickCount=1)
    page.call("Input.dispatchMouseEvent", type="mouseReleased", x=x + 40, y=y, button="left", clickCount=1)
    page.until(f"Number(document.querySelector('#knobs input').value) !== {before}")
    page.click("#pause")
    page.click("[data-place=road]")
    page.click("[data-driver=visitor]")
    # on the road, past its first frame: the 0 waited for below is then that of the new start, and none still under way
    page.until("!document.querySelector('#seen').nextElementSibling.textContent.includes('Dreamt')"
               " && Number(document.querySelector('#frame').textContent) > 0")
    page.click("#pause")
    page.click("#restart")
    blue = ("[...document.querySelector('#road').getContext('2d').getImageData(250, 280, 100, 60).data]"
            ".filter((light, index) => index % 4 === 2 && light > 180).length")
    page.until("document.querySelector('#frame').textContent === '0'")
    assert page.run(STEPS % 15) == 15
    assert page.run(blue) > 15  # the ghost, a little ahead
    page.click("#pause")
    page.until("document.querySelector('#banner').textContent.includes('the champion: ')", 60)
    assert page.text("#best") != "–"
    best = page.run("localStorage.getItem('wm_mpi CarRacing 3')")
    page.picture(tmp_path / "race.png")
    assert '"frame":100' in best
    assert not page.complaints
    page.call("Page.close")


def test_an_offer_to_go_back(chromium: Browser, part: Part) -> None:
    """Paused, frame by frame: where the car is then does not depend on how fast this machine is."""
    from test_runs_page import listening
    trained = load_trained(found("carracing"), env=None, world=None, max_frames=None, lap_complete_percent=None,
                           deterministic=None)
    page = chromium.page()
    page.prefer(reduced_motion="reduce")  # which begins paused
    with listening(RunSource(trained), None) as port:
        page.open(f"http://127.0.0.1:{port}/?track=3")
        page.until("document.querySelector('#tiles').textContent.includes('/')")
        begun = page.run("Number(document.querySelector('#frame').textContent)")
        page.click("[data-driver=visitor]")
        page.run("document.querySelector('#road').focus()")
        for key in ("ArrowRight", "ArrowUp"):
            page.key(key, True)
        assert page.run(STEPS % 150) == begun + 150
        assert not shows(page, "#offer")
        for key in ("ArrowRight", "ArrowUp"):
            page.key(key, False)
        page.click("[data-driver=champion]")
        assert page.run(STEPS % 1) == begun + 151
        assert shows(page, "#offer")
        page.click("#back")
        page.until("document.querySelector('#offer').hidden && Number(document.querySelector('#frame').textContent) < 100")
    page.call("Page.close")


def boxes(page: Page, selector: str) -> list[list[float]]:
    return page.run(f"[...document.querySelectorAll({selector!r})].filter((one) => one.getClientRects().length)"
                    ".map((one) => one.getBoundingClientRect()).map((box) => [box.left, box.top, box.right, box.bottom])")


def overlap(one: list[float], other: list[float]) -> bool:
    return one[0] < other[2] - 1 and other[0] < one[2] - 1 and one[1] < other[3] - 1 and other[1] < one[3] - 1


CONTROLS = "button, select, input, summary, nav a, #runs a"


def press_everything(page: Page) -> int:
    """Click all that can be clicked, each where it is seen and nothing lies over it; gives how many there were."""
    page.run(f"[...document.querySelectorAll({CONTROLS!r})].forEach((one, index) => one.dataset.number = index)")
    pressed = 0
    for number in range(page.run(f"document.querySelectorAll({CONTROLS!r}).length")):
        control = f"[data-number='{number}']"
        if not page.run(f"(() => {{ const it = document.querySelector({control!r}); "
                        "return Boolean(it && it.getClientRects().length && !it.disabled && !it.matches('a')); })()"):
            continue
        page.until(f"(() => {{ const it = document.querySelector({control!r}); it.scrollIntoView({{block: 'center'}}); "
                   "const box = it.getBoundingClientRect(); "
                   "const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2); "
                   "return Boolean(top && (it.contains(top) || top.closest('label')?.contains(it))); })()", 5)
        page.click(control)
        pressed += 1
    return pressed


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (844, 390)])
def test_every_control_at_every_size(chromium: Browser, served: Served, axe: str, width: int, height: int, scheme: str,
                                     tmp_path: Path) -> None:
    page = chromium.page()
    page.size(width, height, mobile=width < 1000)
    page.prefer(color_scheme=scheme, reduced_motion="no-preference")
    page.open(served.address)
    page.until("document.querySelector('#tiles').textContent.includes('/')")
    for driver, place in (("champion", "road"), ("visitor", "road"), ("visitor", "dream"), ("champion", "dream")):
        for wanted in (f"[data-driver={driver}]", f"[data-place={place}]"):
            page.run(f"document.querySelector({wanted!r}).click()")
        page.until(f"document.querySelector('#latents').hidden === {str(place == 'road').lower()} && "
                   "[...document.querySelectorAll('[aria-pressed=true]')].map((one) => one.dataset.driver ?? "
                   f"one.dataset.place).join() === '{driver},{place}'")
        assert page.axe(axe) == [] and not page.scrolls_sideways(), (driver, place)
        page.picture(tmp_path / f"{driver}-{place}.png")
    assert press_everything(page) > 12
    page.open(f"{served.address}/runs")
    page.until("document.querySelectorAll('#runs tbody tr').length > 0")
    assert page.axe(axe) == []
    assert press_everything(page) >= 4
    page.picture(tmp_path / "runs.png")
    assert not page.complaints
    page.call("Page.close")


def test_thumbs_cover_nothing(chromium: Browser, served: Served, tmp_path: Path) -> None:
    """Neither the picture where a phone lies on its side, nor a control where it stands."""
    page = chromium.page()
    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    for width, height in ((844, 390), (667, 375), (390, 844), (360, 640)):
        page.size(width, height, mobile=True)
        page.open(served.address)
        page.run("document.querySelector('[data-driver=visitor]').click(); scrollTo(0, 0)")
        page.until("!document.querySelector('#pad').hidden && document.querySelector('#tiles').textContent.includes('/')")
        page.picture(tmp_path / f"{width}.png")
        thumbs, road = boxes(page, "#pad button"), boxes(page, "#road")[0]
        assert len(thumbs) == 4 and all(box[3] <= height for box in [*thumbs, road]), "not all is in sight"
        assert not any(overlap(box, other) for box in thumbs for other in
                       [road, *boxes(page, ".controls button, .controls select, .controls input")]), (width, height)
        assert road[2] - road[0] > (0.4 if width > height else 0.9) * width
    page.call("Page.close")
