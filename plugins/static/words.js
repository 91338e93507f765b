// The texts of scripts in the language of the page. They are English here; of any other language,
// the page has what they are to be replaced with.

const words = JSON.parse(document.getElementById("words")?.textContent ?? "{}");

// For Intl: its English has days before months, and a clock of 24 hours.
export const locale = document.documentElement.lang === "en" ? "en-GB" : document.documentElement.lang;

// A text, with `values` in place of the names in braces.
export function gettext(text, values = {}) {
  return (words[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const MONTHS = gettext("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split(" ");

// A day of the year, such as 12 Nov; months count from 1.
export function dayAndMonth(day, month) {
  return gettext("{day} {month}", { day, month: MONTHS[month - 1] });
}

// A whole number in groups of three digits, as the server writes it.
export function thousands(number) {
  const text = number.toLocaleString("en");
  return locale === "en-GB" ? text : text.replaceAll(",", "\u202f");
}
