// What a visitor chose: °F in place of °C, UTC in place of their own zone. The address says it,
// so that a copy of it shows the same; or else what was chosen last in this browser does.

const VALUES = { unit: ["C", "F"], utc: ["0", "1"] };

function remembered(name) {
  try {
    return localStorage.getItem(`tmon.${name}`);
  } catch {
    return null; // in a frame, or where storing is forbidden
  }
}

function told(name, value) {
  const address = new URL(location.href);
  if (address.searchParams.get(name) === value) return;
  address.searchParams.set(name, value);
  history.replaceState(history.state, "", address);
}

export function choices() {
  const asked = new URLSearchParams(location.search);
  const chosen = (name) => {
    const on = (asked.get(name) ?? remembered(name)) === VALUES[name][1];
    if (on) told(name, VALUES[name][1]);
    return on;
  };
  return { fahrenheit: chosen("unit"), utc: chosen("utc") };
}

// Choose one or the other: remembered, and told by the address from now on.
export function choose(name, on) {
  const value = VALUES[name][+on];
  told(name, value);
  try {
    localStorage.setItem(`tmon.${name}`, value);
  } catch {
    // the address tells it all the same
  }
}
