# SPDX-License-Identifier: GPL-3.0-or-later
"""The publisher's signed, versioned statement of a repository's refs and reels (design.md §5, gtfs-catalogue(5)).

catalogue
    one version of the statement (`gtfs.catalogue.document`); its text is what is signed.
document
    the clear-signed bytes that travel and are kept: the text and the signatures around it.
digest
    the SHA-256 of a catalogue's *text*, in hex: ``Previous`` names it. The bytes of a signature can be changed by
    anybody without making it bad, so a digest of the document would let a feed cut a mirror off.
held
    the highest catalogue that this node accepted (`gtfs.catalogue.accept`); it names who may sign the next one.
equivocation
    two signed catalogues of one version with different texts: somebody with the key says two things.
issue
    make the catalogue that follows the held one, have it signed, and keep it (`gtfs.catalogue.issue`).
freshness
    a signed statement that the held catalogue is still the newest (`gtfs.catalogue.freshness`), by a key for that.
stale
    past ``Valid-Until``, its own and a freshness statement's: the node goes on serving, but moves no ref.
store
    the directory of accepted catalogues (`gtfs.catalogue.store`); its highest version never goes back.

Signatures are checked by `gtfs.trust`; this station fetches nothing and knows neither swarm nor mount.
"""
