// The visitor's choices: °F instead of °C, UTC instead of local time. They are in the address, so
// that a copied link shows the same; without them there, this browser's last choice counts.

const VALUES = { unit: ["C", "F"], utc: ["0", "1"] };

function stored(name) {
  try {
    return localStorage.getItem(`tmon.${name}`);
  } catch {
    return null; // in a frame, or where storing is forbidden
  }
}

function setInAddress(name, value) {
  const address = new URL(location.href);
  if (address.searchParams.get(name) === value) return;
  address.searchParams.set(name, value);
  history.replaceState(history.state, "", address);
}

export function choices() {
  const asked = new URLSearchParams(location.search);
  const chosen = (name) => {
    const on = (asked.get(name) ?? stored(name)) === VALUES[name][1];
    if (on) setInAddress(name, VALUES[name][1]);
    return on;
  };
  return { fahrenheit: chosen("unit"), utc: chosen("utc") };
}

// Store a choice in this browser and in the address.
function choose(name, on) {
  const value = VALUES[name][+on];
  setInAddress(name, value);
  try {
    localStorage.setItem(`tmon.${name}`, value);
  } catch {
    // the address has it
  }
}

// Show on the page's buttons what is chosen.
export function showButtons(chosen) {
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.setAttribute("aria-pressed", button.dataset.choice === "unit" ? chosen.fahrenheit : chosen.utc);
  }
}

const listeners = [];

// Call `changed` after one of the buttons was clicked and its choice is stored.
export function onChoice(changed) {
  listeners.push(changed);
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-choice]");
  if (!button) return;
  choose(button.dataset.choice, button.getAttribute("aria-pressed") !== "true");
  for (const changed of listeners) changed();
});
