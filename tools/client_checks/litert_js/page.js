// Runs the README's lines (served as /documented.js) for every image and posts the answers.

async function answerAll() {
  const { classify } = await import("/documented.js");
  const [count, size] = await (await fetch("/images.json")).json();
  const images = new Uint8Array(await (await fetch("/images.bin")).arrayBuffer());
  const answers = [];
  for (let i = 0; i < count; i++) {
    answers.push(await classify(images.slice(i * size, (i + 1) * size)));
  }
  return { answers };
}

const result = await answerAll().catch((error) => ({ error: String(error) }));
await fetch("/answers", { method: "POST", body: JSON.stringify(result) });
