// Pages that have no script of their own: times in the visitor's zone, values in the visitor's unit.

import { choices, onChoice, showButtons } from "./choices.js";
import { localize } from "./format.js";

function show() {
  const chosen = choices();
  localize(document.querySelector("main"), chosen);
  showButtons(chosen);
  for (const group of document.querySelectorAll(".choices")) group.hidden = false;
}

onChoice(show);
show();
