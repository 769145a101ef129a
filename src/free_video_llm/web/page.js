// Moves the player to the second that a mark, a thumbnail or a place on the timeline stands for,
// and shows on the timelines where the player is. Speaks to nobody.
(() => {
  const player = () => document.querySelector("#fvl-clip video");

  const say = (text) => {
    const live = document.getElementById("fvl-live");
    if (live && text && live.textContent !== text) live.textContent = text;
  };

  const goTo = (button) => {
    const second = Number(button.dataset.second);
    document.querySelectorAll(".fvl-here").forEach((e) => e.classList.remove("fvl-here"));
    document
      .querySelectorAll(`#fvl-result [data-second="${button.dataset.second}"]`)
      .forEach((e) => e.classList.add("fvl-here"));
    const video = player();
    if (!video || video.error || !video.duration) {
      say("This browser cannot play the clip; the frames on the page are all there is to see.");
      return;
    }
    video.pause();
    // A little into the frame: times are rounded, and just before it is the frame before.
    video.currentTime = Math.min(second + 0.002, video.duration);
    say(`Player at ${second.toFixed(2)} seconds`);
    const box = video.getBoundingClientRect();
    if (box.top < 0 || box.bottom > window.innerHeight) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      video.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
    }
  };

  // Marks can lie on top of each other: a pointer means the one nearest to it.
  const nearest = (buttons, x) => {
    let best = null;
    let least = Infinity;
    for (const button of buttons) {
      const box = button.getBoundingClientRect();
      const away = Math.abs(box.left + box.width / 2 - x);
      if (away < least) [best, least] = [button, away];
    }
    return best;
  };

  document.addEventListener("click", (event) => {
    const field = event.target.closest?.(".fvl-lane, .fvl-plot");
    const byPointer = event.detail > 0;
    if (field && byPointer) {
      const lane = field.matches(".fvl-plot")
        ? field.closest(".fvl-time").querySelector(".fvl-lane")
        : field;
      const button = nearest(lane.querySelectorAll("[data-second]"), event.clientX);
      if (button) goTo(button);
      return;
    }
    const button = event.target.closest?.("[data-second]");
    if (button) goTo(button);
  });

  // Within a lane the arrow keys go from mark to mark; the lane is one stop of the Tab key.
  document.addEventListener("keydown", (event) => {
    const lane = event.target.closest?.(".fvl-lane");
    if (!lane) return;
    const marks = [...lane.querySelectorAll("[data-second]")];
    const at = marks.indexOf(event.target);
    const next = {
      ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1,
      Home: 0, End: marks.length - 1,
    }[event.key];
    if (next === undefined || at < 0) return;
    event.preventDefault();
    const to = marks[Math.max(0, Math.min(next, marks.length - 1))];
    marks.forEach((mark) => { mark.tabIndex = mark === to ? 0 : -1; });
    to.focus();
  });

  const showTime = () => {
    const video = player();
    for (const time of document.querySelectorAll(".fvl-time")) {
      const now = time.querySelector(".fvl-now");
      const duration = Number(time.dataset.duration);
      now.hidden = !video || !(duration > 0);
      if (now.hidden) continue;
      now.style.setProperty("--share", Math.min(video.currentTime / duration, 1));
    }
  };
  // These events do not bubble, but they can be caught on the way down.
  for (const kind of ["timeupdate", "seeking", "seeked", "loadedmetadata"]) {
    document.addEventListener(kind, showTime, true);
  }

  // What appears is said once, and on a narrow screen brought into sight.
  const watch = () => {
    for (const id of ["fvl-status", "fvl-facts", "fvl-result", "fvl-compare-status"]) {
      const place = document.getElementById(id);
      if (!place || place.dataset.watched) continue;
      place.dataset.watched = "yes";
      new MutationObserver(() => {
        showTime();
        const news = place.querySelector("[data-say]");
        if (news) say(news.dataset.say);
        const said = place.querySelector(".fvl-said");
        if (said) say(`Answer: ${said.textContent}`);
        const shown = said || (news && id.endsWith("status") ? news : null);
        const box = shown?.getBoundingClientRect();
        if (box && (box.bottom < 0 || box.top > window.innerHeight)) {
          shown.scrollIntoView({ block: "center" });
        }
      }).observe(place, { childList: true, subtree: true });
    }
  };
  new MutationObserver(watch).observe(document.documentElement, { childList: true, subtree: true });
})();
