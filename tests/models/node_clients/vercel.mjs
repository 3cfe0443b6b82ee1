// The Vercel AI SDK: a whole answer, and the same one as it is written.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const provider = createOpenAICompatible({ name: "penstock", baseURL: process.env.BASE_URL, apiKey: process.env.KEY });
const ask = { model: provider("chat"), prompt: process.env.QUESTION, maxOutputTokens: 16, temperature: 0 };

const whole = await generateText(ask);
const stream = streamText(ask);
let streamed = "";
for await (const text of stream.textStream) streamed += text;

console.log(JSON.stringify({ text: whole.text, streamed, finish: await stream.finishReason }));
