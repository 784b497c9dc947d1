// Keeps the head of a running batch's page fresh: asks every two seconds, not while the page is hidden, not after the end.
"use strict";
{
  const PERIOD = 2000;
  const SLOWEST = 30000;
  const box = document.getElementById("progress");
  const arriving = document.getElementById("arriving");
  let wait = PERIOD;
  let timer = null;

  const say = (text, link) => {
    const note = document.createElement("p");
    note.className = "quiet";
    note.append(text, " ");
    const anchor = document.createElement("a");
    anchor.href = location.href;
    anchor.textContent = link;
    note.append(anchor);
    box.append(note);
  };

  const ask = async () => {
    timer = null;
    if (document.hidden) return;
    try {
      const answer = await fetch(box.dataset.url, { headers: { Accept: "application/json" }, cache: "no-store" });
      if (answer.redirected || answer.status === 403 || answer.status === 404) {
        say("The batch cannot be read any more.", "Reload");
        return;
      }
      if (!answer.ok) throw new Error(answer.status);
      const news = await answer.json();
      box.innerHTML = news.html;
      // Whoever is about to follow a link in it keeps it.
      if (arriving && !arriving.contains(document.activeElement)) arriving.innerHTML = news.arriving;
      for (const field of document.querySelectorAll('form.act input[name="fence"]')) field.value = news.fence;
      wait = PERIOD;
      if (news.ended) {
        const note = document.getElementById("note");
        if (note && note.value) say("The batch has ended.", "Show the result");
        else location.reload();
        return;
      }
    } catch {
      wait = Math.min(wait * 2, SLOWEST);
    }
    timer = setTimeout(ask, wait);
  };

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && timer === null) ask();
  });
  timer = setTimeout(ask, PERIOD);
}
