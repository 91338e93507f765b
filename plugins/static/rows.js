// Pages that have no script of their own: times in the visitor's zone, values in the visitor's unit.

import { choices, choose } from "./choices.js";
import { localize } from "./format.js";

function show() {
  const chosen = choices();
  localize(document.querySelector("main"), chosen);
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.setAttribute("aria-pressed", button.dataset.choice === "unit" ? chosen.fahrenheit : chosen.utc);
  }
  for (const group of document.querySelectorAll(".choices")) group.hidden = false;
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-choice]");
  if (!button) return;
  choose(button.dataset.choice, button.getAttribute("aria-pressed") !== "true");
  show();
});

show();
