"""The server learns the sum of what the sites send, and nothing of any one site.

Each site adds random masks that cancel in the sum; where a site drops out midway, the others hand
over just enough to take its masks out again. One round is five exchanges, in `protocol`; a site
plays it with `site.SiteRound`, the server with the functions of `server`.

Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017,
https://eprint.iacr.org/2017/281

What it protects, for n sites and a threshold t:

- A server that follows the protocol, together with up to t - 1 sites, learns the sum of the other
  surviving sites' vectors. With at least t survivors that is a sum of at least one; two sites that
  are told the sum always know each other's value.
- A server that does not follow it gains nothing by inventing keys (they are signed by identities
  that the sites pinned out of band), by altering or replaying what it relays, or by asking for
  both kinds of share of one site (the sites sign one set of survivors first), as long as fewer
  than 2 t - n sites help it.
- A site that drops out at any exchange; the sum opens while t sites answer each.

What it does not protect:

- The opened sum itself: it is not differentially private, and two sums that differ by one site
  give that site away. Nor do fixed-point words carry exactly the noise of a Gaussian mechanism.
- Against a plan that the server chose: each site takes the sites, the threshold and the length
  from its own configuration, and only the round's number from the server.
- The sum's meaning, against a site that sends garbage or lies. It can also make a round fail.
- Sizes, timing, and who took part.
- A site's memory while a round runs; Python's integers are not constant-time either.
"""
