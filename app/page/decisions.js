"use strict";

// Without this script the page is the same: the form has a button, and a reload shows the newest decisions.
{
  const seconds = 10;
  const form = document.querySelector("form");
  const box = document.querySelector("#refresh");
  box.checked = sessionStorage.getItem("refresh") === "on";
  box.closest("label").hidden = false;
  box.addEventListener("change", () => sessionStorage.setItem("refresh", box.checked ? "on" : "off"));

  // A reload while somebody reads or types would take away what they see.
  const isBusy = () =>
    document.hidden ||
    document.querySelector("details[open]") !== null ||
    (form.contains(document.activeElement) && document.activeElement !== box);
  setInterval(() => {
    if (box.checked && !isBusy()) {
      location.reload();
    }
  }, seconds * 1000);

  for (const time of document.querySelectorAll("time")) {
    time.title = new Date(time.dateTime).toLocaleString();
  }
}
