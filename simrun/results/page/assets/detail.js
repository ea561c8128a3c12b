// One episode, or two side by side: film, stages, actions as predicted and as executed.

const FILM_RATE = 20;
const detail = document.getElementById("detail");
detail.addEventListener("close", () => { if (detail.open) return; for (const video of detail.querySelectorAll("video")) video.pause(); detail.replaceChildren(); });

function film(episode) {
  if (episode.video) return h("video", { src: episode.video, controls: true, preload: "metadata", playsinline: true });
  return h("div", { class: "nofilm" }, h("div", {}, "Not filmed. ", h("br"), "To film it now: ", h("br"),
    h("code", {}, `simrun replay RUN ${episode.id} --video one.mp4`)));
}

/** Number of an episode -> its film, small; kept, because beside a run the page is drawn again and again. */
const thumbnails = new Map();

const nearby = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    nearby.unobserve(target);
    target.src = (frozen ? frozen[`episode/${target.dataset.number}`].video : `video/${target.dataset.number}`) || "";
  }
});

/** The film of an episode, standing at its end, where a failure shows; null where none was made. */
function thumbnail(number) {
  if (!(episodes.columns.film?.[number] & 1)) return null;
  if (!thumbnails.has(number)) {
    const video = h("video", { preload: "metadata", playsinline: true, tabindex: "-1", "aria-hidden": "true", "data-number": number });
    video.muted = true;
    video.addEventListener("loadedmetadata", () => toEnd(video));
    nearby.observe(video);
    thumbnails.set(number, video);
  }
  return thumbnails.get(number);
}

const toEnd = (video) => { video.pause(); video.currentTime = Math.max(0, (video.duration || 0) - 0.02); };

/** A button that opens an episode; its film, if there is one, runs under the pointer. */
function filmButton(number, text, properties) {
  const video = thumbnail(number);
  if (!video) return h("button", { type: "button", ...properties }, text);
  const run = () => { video.currentTime = 0; video.play().catch(() => {}); };
  return h("button", { type: "button", class: "thumb", onpointerenter: run, onpointerleave: () => toEnd(video), ...properties }, video);
}

function titleOf(episode) {
  return `${episode.task}, trial ${episode.trial}${episode.seed ? `, seed ${episode.seed}` : ""}${episode.wording ? `, wording ${episode.wording}` : ""}`;
}

function stageList(episode) {
  if (episode.subtasks.length) {
    return h("ol", { class: "small" }, episode.subtasks.map((subtask) =>
      h("li", {}, `${subtask.task.replaceAll("_", " ")} `, h("span", { class: `outcome ${subtask.success ? "success" : "failure"}` }, `${subtask.steps} steps`))));
  }
  if (!episode.stages.length) return h("p", { class: "muted small" }, "This benchmark reports no stages.");
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["stage", "first at step", "at the end"].map((text) => h("th", {}, text)))),
    h("tbody", {}, episode.stages.map((stage) => h("tr", {}, h("td", {}, stage.name), h("td", { class: "mono" }, stage.first_step ?? "never"),
      h("td", {}, h("span", { class: `outcome ${stage.held ? "success" : "failure"}` }, stage.held ? "held" : "not held")))))));
}

/** Actions of one axis: executed as a line, each predicted chunk as a thin one from the step it was predicted at. */
function actionChart(episode, axis) {
  const { executed, predicted, names } = episode.chart;
  const values = [...executed.map((row) => row[axis]), ...predicted.flatMap((entry) => entry.chunk.map((row) => row[axis]))];
  const low = Math.min(...values), high = Math.max(...values), margin = (high - low || 1) * 0.06;
  return lineChart({
    x: [0, Math.max(1, episode.steps)], y: [low - margin, high + margin], xLabel: "control step", yLabel: names[axis],
    label: `Action ${names[axis]} of the episode, predicted and executed`,
    series: [
      ...predicted.map((entry) => ({ class: "predicted", points: entry.chunk.map((row, i) => [entry.step + i, row[axis]]).filter(([step]) => step <= episode.steps) })),
      { class: "executed", points: executed.map((row, i) => [i, row[axis]]) },
    ],
    marks: episode.stages.filter((stage) => stage.first_step !== null).map((stage, row) => ({ at: stage.first_step, text: stage.name, row })),
  });
}

function actionPanel(episode, follow) {
  if (!episode.chart) return h("p", { class: "muted small" }, episode.chart_remark || "Actions were not recorded; run with --record all to see them.");
  const place = h("div"), pick = (axis) => {
    const chart = actionChart(episode, axis);
    follow.chart = chart;
    place.replaceChildren(segmented("Axis of the action", episode.chart.names.map((name, index) => [index, name]), axis, pick), chart,
      h("p", { class: "legend" }, "blue: executed. thin: each chunk as predicted. dashed: a stage is reached."));
  };
  pick(0);
  return place;
}

function facts(episode) {
  const cost = episode.inferences ? `${episode.inferences} inferences, ${duration(episode.timings.inference / episode.inferences)} each` : "";
  return h("dl", { class: "pairs" }, [
    ["checkpoint", labelOf(episode.checkpoint)], ["execution", `${episode.execution}, ${episode.horizon} actions at a time`],
    ["policy seed", String(episode.policy_seed)], ["steps", String(episode.steps)], ["score", String(episode.score)],
    ["instruction", episode.instruction], ["error", episode.error], ["inference", cost], ["took", duration(episode.timings.wall)],
    ["on", `${episode.host} at ${episode.finished} UTC`],
  ].filter((pair) => pair[1]).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function follow(video, target) {
  if (!(video instanceof HTMLVideoElement)) return;
  const move = () => {
    target.chart?.moveTo(video.currentTime * FILM_RATE);
    if (!video.paused && detail.open) requestAnimationFrame(move);
  };
  video.addEventListener("play", move);
  video.addEventListener("seeked", move);
}

function dialogHead(title, ...tools) {
  return h("div", { class: "dialoghead" }, h("h2", { id: "detail-title" }, title),
    h("div", { class: "right" }, tools, h("button", { type: "button", onclick: () => detail.close() }, "Close ", h("kbd", {}, "Esc"))));
}

let browsed = { list: [], at: 0 };

async function openEpisode(number, list = null) {
  if (list) browsed = { list, at: list.indexOf(number) };
  const episode = await ask(`episode/${number}`).catch((error) => ({ failed: error.message }));
  if (episode.failed) { showProblem(episode.failed); return; }
  const target = {}, video = film(episode);
  follow(video, target);
  const step = (by) => { const next = browsed.list[browsed.at + by]; if (next !== undefined) { browsed.at += by; openEpisode(next); } };
  detail.step = step;
  detail.toggle = video instanceof HTMLVideoElement ? () => { if (video.paused) video.play(); else video.pause(); } : null;
  detail.replaceChildren(
    dialogHead([titleOf(episode), " ", h("span", { class: `outcome ${episode.outcome === "not run" ? "lost" : episode.outcome}` }, episode.outcome)],
      h("button", { type: "button", onclick: () => step(-1), disabled: browsed.at <= 0 }, "← ", h("kbd", {}, "k")),
      h("button", { type: "button", onclick: () => step(1), disabled: browsed.at + 1 >= browsed.list.length }, "→ ", h("kbd", {}, "j"))),
    h("div", { class: "detail two" },
      h("div", {}, video, h("div", { style: { "margin-top": ".9rem" } }, facts(episode))),
      h("div", {}, h("h3", {}, "Actions"), actionPanel(episode, target), h("h3", { style: { margin: "1rem 0 .4rem" } }, "Stages"), stageList(episode))));
  if (!detail.open) detail.showModal();
  detail.scrollTop = 0;
  if (video instanceof HTMLVideoElement) video.play().catch(() => {});
}

async function openPair(a, b) {
  const asked = [ask(`episode/${a}`), ask(`episode/${b}`), ask(`parting/${a}/${b}`).catch((error) => ({ remark: error.message }))];
  const [first, second, found] = await Promise.all(asked).catch((error) => [null, null, error.message]);
  if (!first) { showProblem(found); return; }
  const videos = [film(first), film(second)], films = videos.filter((video) => video instanceof HTMLVideoElement);
  for (const video of films) { video.controls = false; video.muted = true; }
  const longest = Math.max(first.steps, second.steps), target = {};
  const scrub = h("input", { type: "range", min: 0, max: longest, step: "any", value: 0, style: { width: "100%" }, "aria-label": "Control step" });
  const at = h("span", { class: "number" });
  const tell = (step) => { at.textContent = `step ${Math.round(step)} of ${longest}`; scrub.value = String(step); target.chart?.moveTo(step); };
  const place = (video, step) => Math.min(step / FILM_RATE, Math.max(0, (video.duration || 0) - 0.01));
  const show = (step) => { tell(step); for (const video of films) video.currentTime = place(video, step); };
  let running = null;
  const stop = () => { cancelAnimationFrame(running); running = null; button.textContent = "Play"; for (const video of films) video.pause(); };
  const play = () => {
    if (running !== null) { stop(); return; }
    const from = Number(scrub.value) >= longest ? 0 : Number(scrub.value), began = performance.now();
    button.textContent = "Pause";
    show(from);
    for (const video of films) video.play().catch(() => {});
    // Films run by themselves; one that falls behind the clock is put where it belongs, the shorter one waits at its end.
    const next = (now) => {
      const step = Math.min(longest, from + ((now - began) / 1000) * FILM_RATE);
      tell(step);
      for (const video of films) if (!video.seeking && Math.abs(video.currentTime - place(video, step)) > 0.15) video.currentTime = place(video, step);
      if (step < longest && detail.open) running = requestAnimationFrame(next); else stop();
    };
    running = requestAnimationFrame(next);
  };
  const button = h("button", { type: "button", id: "play", onclick: play }, "Play");
  scrub.addEventListener("input", () => { if (running !== null) stop(); show(Number(scrub.value)); });
  const sentence = found.remark || (found.actions === null
    ? "Their executed actions are equal to the last bit, as far as both go."
    : `Executed actions part at step ${found.actions}; what the robot measures parts at ${found.states === null ? "no step" : `step ${found.states}`}.`);
  const side = (episode, video) => h("div", {}, h("h3", {}, `${labelOf(episode.checkpoint)} (${episode.execution}) `,
    h("span", { class: `outcome ${episode.outcome === "not run" ? "lost" : episode.outcome}` }, episode.outcome)), h("p", { class: "muted small" }, `${episode.steps} steps`), video);
  let chart = null;
  if (found.distances?.length) {
    chart = lineChart({ width: 1080, height: 190, x: [0, longest], y: [0, Math.max(...found.distances) * 1.05 || 1], xLabel: "control step", yLabel: "largest difference of an action's axis",
      label: "How far the executed actions are apart", series: [{ class: "executed", points: found.distances.map((value, step) => [step, value]) }],
      marks: found.actions === null ? [] : [{ at: found.actions, text: "they part here" }] });
    target.chart = chart;
  }
  detail.step = null;
  detail.toggle = films.length || chart ? play : null;
  const begin = found.actions || 0;
  detail.replaceChildren(...[dialogHead(titleOf(first)), h("p", { id: "parting" }, sentence),
    h("div", { class: "detail sidebyside" }, side(first, videos[0]), side(second, videos[1])),
    detail.toggle && h("div", { class: "player" }, button, scrub, at), chart].filter(Boolean));
  tell(begin);
  if (!detail.open) detail.showModal();
  for (const video of films) video.addEventListener("loadedmetadata", () => show(begin), { once: true });
}

function showProblem(text) {
  detail.step = detail.toggle = null;
  detail.replaceChildren(dialogHead("This cannot be shown"), h("p", {}, text));
  if (!detail.open) detail.showModal();
}
