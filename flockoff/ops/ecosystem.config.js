// pm2 start flockoff/ops/ecosystem.config.js --only flockoff-validator
// NETUID, WALLET_NAME, WALLET_HOTKEY, HF_REPO_ID and DATASET come from the environment.
const path = require("path");

const root = path.resolve(__dirname, "..", "..");
const env = process.env;
const common = [
  "--netuid", env.NETUID || "",
  "--wallet.name", env.WALLET_NAME || "default",
  "--wallet.hotkey", env.WALLET_HOTKEY || "default",
  "--subtensor.network", env.NETWORK || "finney",
];

const neuron = (name, args, more) => ({
  name,
  cwd: root,
  script: "neurons/" + name.replace("flockoff-", "") + ".py",
  interpreter: path.join(root, ".venv", "bin", "python3"),
  args: [...common, ...args],
  kill_timeout: 30000, // it ends within ten seconds of a SIGINT, workers included
  ...more,
});

module.exports = {
  apps: [
    neuron("flockoff-validator", ["--metrics", "9100"], { restart_delay: 15000, stop_exit_codes: [2] }),
    neuron(
      "flockoff-miner",
      ["--hf_repo_id", env.HF_REPO_ID || "", "--dataset_path", env.DATASET || "data/data.jsonl"],
      { autorestart: false },
    ),
  ],
};
