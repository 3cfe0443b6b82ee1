// LangChain's ChatOpenAI: a whole answer, and the same one as it is written.
import { ChatOpenAI } from "@langchain/openai";

const chat = new ChatOpenAI({
  model: "chat",
  apiKey: process.env.KEY,
  configuration: { baseURL: process.env.BASE_URL },
  maxTokens: 16,
  temperature: 0,
});

const whole = await chat.invoke(process.env.QUESTION);
let streamed = "";
for await (const chunk of await chat.stream(process.env.QUESTION)) streamed += chunk.content;

console.log(JSON.stringify({ text: whole.content, streamed, tokens: whole.usage_metadata.output_tokens }));
