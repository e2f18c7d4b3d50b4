// Sets theme and density before the first paint. A file of its own because the page's policy allows no inline script.
(() => {
  const root = document.documentElement;
  try {
    root.dataset.theme = localStorage.getItem("theme") || "system";
    root.dataset.density = localStorage.getItem("density") || "compact";
  } catch {
    root.dataset.theme = "system";
    root.dataset.density = "compact";
  }
})();
