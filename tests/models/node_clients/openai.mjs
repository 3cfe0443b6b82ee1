// OpenAI's client for Node: a whole answer, the same one as it is written, vectors, and an error.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.KEY });
const messages = [{ role: "user", content: process.env.QUESTION }];
const ask = { model: "chat", messages, max_tokens: 16, temperature: 0 };

const whole = await client.chat.completions.create(ask);
const stream = await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } });
let streamed = "";
let usage = null;
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const refused = await client.chat.completions.create({ ...ask, model: "nothing" }).catch((error) => error);

console.log(
  JSON.stringify({
    text: whole.choices[0].message.content,
    streamed,
    usage: usage.total_tokens === whole.usage.total_tokens,
    models,
    refused: [refused.constructor.name, refused.status, refused.code],
  }),
);
