// Draws the charts of the overview from the hidden elements [data-chart], which server-sent events replace.
"use strict";
(() => {
  const plots = new Map();
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function colors() {
    return dark.matches ? ["#5ab0f0", "#ffb454"] : ["#0172ad", "#a04a00"];
  }

  function options(target, lines) {
    const style = getComputedStyle(document.documentElement);
    const text = style.getPropertyValue("--pico-color").trim();
    const line = { stroke: style.getPropertyValue("--pico-muted-border-color").trim(), width: 1 };
    const axis = { stroke: text, grid: line, ticks: line };
    return {
      width: target.parentElement.clientWidth,
      height: 180,
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { range: () => [Date.now() / 1000 - 3600, Date.now() / 1000] },
        y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] },
      },
      // the table has UTC too
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      axes: [{ ...axis, values: "{HH}:{mm}" }, { ...axis, size: 60 }],
      series: [{ label: "UTC", value: "{HH}:{mm}:{ss}" }].concat(
        lines.map((label, number) => ({
          label,
          stroke: colors()[number],
          width: 2,
          dash: number ? [6, 4] : undefined,
          spanGaps: false,
        })),
      ),
    };
  }

  function draw() {
    for (const source of document.querySelectorAll("[data-chart]")) {
      const target = document.getElementById(source.dataset.chart);
      const points = JSON.parse(source.dataset.points);
      const plot = plots.get(target.id);
      if (plot) {
        plot.setData(points);
      } else {
        plots.set(target.id, new uPlot(options(target, source.dataset.lines.split(",")), points, target));
      }
    }
  }

  function drawAnew() {
    for (const plot of plots.values()) {
      plot.destroy();
    }
    plots.clear();
    draw();
  }

  draw();
  new MutationObserver(draw).observe(document.getElementById("figures"), {
    attributes: true,
    attributeFilter: ["data-points"],
    childList: true,
    subtree: true,
  });
  dark.addEventListener("change", drawAnew);
  new ResizeObserver(() => {
    for (const [id, plot] of plots) {
      plot.setSize({ width: document.getElementById(id).parentElement.clientWidth, height: 180 });
    }
  }).observe(document.querySelector(".charts"));
})();
