# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what here, and whether they really said it (design.md §10).

key
    an OpenPGP key, always named by the *whole* fingerprint of its primary key; a signature by a subkey counts
    as one by its primary key. Short key ids, names and addresses decide nothing.
keyring
    the keys that may be asked about, from files that the user gave (`gtfs.trust.keyring`), frozen into one small
    file with a digest. Being in it gives nobody a right: rights are lists of fingerprints.
signature
    one packet that gpgv found to fit (`gtfs.trust.gpgv`), by a key that was good when it was made, or that is good now
    (`gtfs.trust.validity`), with every reason to doubt it excluded. An exit code or a "good signature" line alone is
    never one.
clear-signed document
    text with its signatures around it (`gtfs.trust.verify.read_clearsigned`); each signature is judged alone, and
    only the extracted text goes on.
signed object
    a commit or tag with a signature inside (`gtfs.trust.objects`).
policy
    what a ref demands: ``local``, ``catalogue``, ``tag``, ``path`` or ``every-commit`` (`gtfs.trust.policy`).
tree policy
    a project's own list of who may sign, in its tree: ``openpgp-policy.toml`` or ``.guix-authorizations``
    (`gtfs.trust.treepolicy`). What counts for a commit is the one of its parent.
way
    commits from a trusted one to another, each signed by one whom its parent's policy lets (`gtfs.trust.path`).
allowed signers
    the SSH keys that this node trusts, in ssh-keygen's own form (`gtfs.trust.sshsig`).
vouch
    the reason for which an object was accepted: who stands for it, and how. What a catalogue or a tag vouches for is
    never called signed.
sign-off
    this node's own signed statement over packs that it verified (`gtfs.trust.signoff`).
signer
    a key that can sign now (`gtfs.trust.sign`): the user's, or the node's own.

This station knows bytes, keys and files; it imports nothing above `gtfs.ids`, and is the only one to import gnupg.
"""
