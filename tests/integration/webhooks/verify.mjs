// Verifies requests with the JavaScript library of Standard Webhooks. Standard input is a JSON array of
// {headers, body, secret}; standard output is an array of booleans.
import { readFileSync } from "node:fs";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const requests = JSON.parse(readFileSync(0, "utf8"));
const verified = requests.map(({ headers, body, secret }) => {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false;
    throw error;
  }
});
console.log(JSON.stringify(verified));
