"""Compute the sum of the sites' vectors so that the server learns the sum and no single vector.

Each site adds random masks that cancel in the sum; where a site drops out midway, the others reveal
just enough to subtract its masks. One round has five exchanges, whose messages are in `protocol`; a
site takes part with `site.SiteRound`, the server with the functions of `server`.

Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017,
https://eprint.iacr.org/2017/281

The protocol guarantees, for n sites and a threshold t:

- A server that follows the protocol and colludes with up to t - 1 sites learns only the sum of the
  other surviving sites' vectors. With at least t survivors that is a sum of at least one vector; if
  there are only two sites, each can compute the other's vector from the sum.
- A server that does not follow the protocol gains nothing by inventing keys (they are signed by
  identities that the sites pinned out of band), by altering or replaying messages, or by asking for
  both kinds of share of one site (the sites sign one set of survivors first), as long as fewer than
  2 t - n sites collude with it.
- Sites may drop out at any exchange; the sum is opened if at least t sites answer each exchange.

The protocol does not protect:

- the opened sum itself: it is not differentially private, and two sums that differ by one site
  disclose that site's vector. Also, noise rounded to fixed-point words is not exactly that of a
  Gaussian mechanism.
- against a plan chosen by the server: each site takes the sites, the threshold and the length from
  its own configuration, and only the round's number from the server.
- the meaning of the sum against a site that sends a false vector. Such a site can also make a round
  fail.
- the sizes and times of messages, and which sites took part.
- the memory of a site while a round runs. Python's integers are not constant-time either.
"""
