"use strict";
// Steps through the run that stands in the page as JSON: a state for each unit, a level for each FIFO.
const run = JSON.parse(document.getElementById("run").textContent);
const units = [...document.querySelectorAll(".unit")];
const fifos = [...document.querySelectorAll(".fifo")];
const step = document.getElementById("step");
const play = document.getElementById("play");
const speed = document.getElementById("speed");
const now = document.getElementById("now");
const last = Number(step.max);
let timer = null;

function show(row) {
  step.value = row;
  units.forEach((unit, index) => {
    const state = Number(run.units[index][row]);
    unit.dataset.state = run.states[state];
    unit.querySelector(".state").textContent = run.said[state];
  });
  fifos.forEach((fifo, index) => {
    const words = run.fifos[index][row];
    fifo.querySelector(".level div").style.width = 100 * words / run.depths[index] + "%";
    fifo.querySelector(".words").textContent = words + " of " + run.depths[index];
  });
  const cycle = Math.min((row + 1) * run.cyclesPerStep, run.cycles) - 1;
  const done = run.finished.filter(each => each <= cycle).length;
  now.textContent = "cycle " + cycle + ", " + done + " of " + run.finished.length + " frames done";
}

function pause() {
  clearInterval(timer);
  timer = null;
  play.textContent = "Play";
}

function start() {
  if (Number(step.value) === last) show(0);
  timer = setInterval(() => {
    if (Number(step.value) === last) pause();
    else show(Number(step.value) + 1);
  }, 1000 / Number(speed.value));
  play.textContent = "Pause";
}

function jump(row) {
  pause();
  show(Math.max(0, Math.min(last, row)));
}

play.addEventListener("click", () => timer === null ? start() : pause());
document.getElementById("back").addEventListener("click", () => jump(Number(step.value) - 1));
document.getElementById("forward").addEventListener("click", () => jump(Number(step.value) + 1));
step.addEventListener("input", () => jump(Number(step.value)));
speed.addEventListener("change", () => { if (timer !== null) { pause(); start(); } });
show(0);
