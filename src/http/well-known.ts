/** Discovery documents. Whatever else is asked for below /.well-known is a JSON 404: HTML or a 5xx stops the SDKs. */
import { Hono } from 'hono';
import { withoutTrailingSlashes } from '../base/text.js';
import {
  type AdvertisedFeatures,
  authorizationServerMetadata,
  protectedResourceMetadata,
} from '../oauth/metadata.js';
import type { Resources } from '../oauth/resources.js';

const RESOURCE_PREFIX = '/.well-known/oauth-protected-resource';

export function wellKnownRoutes({ origin, endpoints }: Resources, features: AdvertisedFeatures): Hono {
  const routes = new Hono({ strict: false });
  const server = authorizationServerMetadata(origin, features);
  const known = new Set([origin, ...endpoints]);

  // With any suffix: clients that take the endpoint for the issuer insert its path here.
  routes.get('/.well-known/oauth-authorization-server/*', (c) => c.json(server));

  routes.get(`${RESOURCE_PREFIX}/*`, (c) => {
    // With the slash the user typed: VS Code and Go compare `resource` with it as strings.
    const resource = origin + new URL(c.req.url).pathname.slice(RESOURCE_PREFIX.length);
    const canonical = withoutTrailingSlashes(resource);
    if (!known.has(canonical)) return c.json({ error: 'not_found' }, 404);
    return c.json(protectedResourceMetadata(canonical === origin ? origin : resource, origin));
  });

  return routes;
}
