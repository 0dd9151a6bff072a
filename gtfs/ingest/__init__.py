# SPDX-License-Identifier: GPL-3.0-or-later
"""From bytes to refs: the one way in, whoever brought the bytes (design.md §8).

candidate
    a pack that might be let in, where its bytes are and what vouches for them: `candidate.Candidate`.
examine
    steps 1 to 4 for one candidate: scan, decode, check, policy: `examine.Examiner`.
batch
    examined packs on their way into one git pack without repeated objects: `batch.Batch`.
ingest
    all steps in turn: `ingest.Ingest`; 5 to 9, sign off, unpack, record, hold by refs: `laststeps.LastSteps`.
take-up
    commits that plain git put into the repository become commit packs: `takeup.take_up`.
quarantine
    what was refused, with the reason: `quarantine.Quarantine`.

All synchronous; one thread at a time works on one repository.
"""
