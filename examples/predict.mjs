// Ask the spam model: KEY=... node predict.mjs "text of a message"
const url = process.env.PENSTOCK_URL ?? "http://localhost:8080";
const answer = await fetch(`${url}/v1/models/spam/predict`, {
  method: "POST",
  headers: { "API-Key": process.env.KEY, "Content-Type": "application/json" },
  body: JSON.stringify({ text: process.argv[2] }),
});
console.log(await answer.json());
