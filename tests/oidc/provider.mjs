// An OpenID provider for the tests: panva's, with its own login pages. Anybody may log in; groups come with the name.
// node provider.mjs PORT CLIENT_ID CLIENT_SECRET REDIRECT_URI

import Provider from "oidc-provider";

const [port, clientId, clientSecret, redirectUri] = process.argv.slice(2);
const GROUPS = { jane: ["pacs-readers", "everybody"], root: ["pacs-admins"], guest: ["everybody"], admin: ["pacs-readers"] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [redirectUri], response_types: ["code"] }],
  claims: {
    openid: ["sub"],
    profile: ["name", "preferred_username"],
    email: ["email"],
    groups: ["groups"],
  },
  scopes: ["openid", "profile", "email", "groups"],
  pkce: { required: () => true },
  async findAccount(_, id) {
    const claims = {
      sub: id,
      name: `Doe^${id}`,
      preferred_username: id,
      email: `${id}@clinic.example`,
      groups: GROUPS[id] ?? [],
    };
    return { accountId: id, claims: async () => claims };
  },
});

const server = provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
process.stdin.on("end", () => server.close(() => process.exit(0))).resume();
