/* Evening or matinee: what the visitor chose here, else what the system prefers. Not a module: before the first paint. */
{
  const KEY = "understudy.light";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.light ?? (dark.matches ? "evening" : "matinee");

  try {
    const chosen = localStorage.getItem(KEY);
    if (chosen === "evening" || chosen === "matinee") root.dataset.light = chosen;
  } catch {
    // a browser that keeps nothing follows the system
  }

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("#light");
    const label = button?.querySelector("[data-label]");
    if (!button || !label) return;
    const show = () => (label.textContent = current() === "evening" ? "Evening" : "Matinee");
    button.addEventListener("click", () => {
      root.dataset.light = current() === "evening" ? "matinee" : "evening";
      try {
        localStorage.setItem(KEY, root.dataset.light);
      } catch {
        // chosen for this visit only
      }
      show();
    });
    dark.addEventListener("change", show);
    show();
  });
}
