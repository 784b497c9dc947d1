// Small helps on the batch page: a button acts once, a table can be filtered.
"use strict";
for (const form of document.querySelectorAll("form.act, form.note-form, form.question")) {
  form.addEventListener("submit", () => {
    // After the form data are taken: a disabled button would be left out of them.
    setTimeout(() => form.querySelectorAll("button").forEach((button) => { button.disabled = true; }), 0);
  });
}
window.addEventListener("pageshow", () => document.querySelectorAll("form.act button, form.note-form button").forEach((button) => { button.disabled = false; }));

for (const field of document.querySelectorAll(".table-filter")) {
  field.classList.remove("hidden");
  const rows = [...document.getElementById(field.dataset.table).tBodies[0].rows].map((row) => [row, row.textContent.toLowerCase()]);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const [row, text] of rows) row.hidden = !words.every((word) => text.includes(word));
  });
}
