"""Audits, the gates before training and before ranking. A failed one is written like any other: it quarantines a variant and stops
nothing. Neither is made again because the other side of training changed, but each when its own source or network did."""


rule audit_untrained:
    input:
        lambda wc: manifest_of(SPECS[FRESH[wc.spec]]),
    output:
        "results/audits/{spec}.untrained.json",
    params:
        place=lambda wc: " ".join(FRESH[wc.spec]),
        source=lambda wc: audit_hash(SPECS[FRESH[wc.spec]].model_tree),
    log:
        "logs/audits/{spec}.untrained.log",
    shell:
        "OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 nnn-bench gate untrained {params.place} --output {output} > {log} 2>&1"


rule audit_trained:
    input:
        lambda wc: trained_of(TRAINED[wc.spec]),
    output:
        "results/audits/{spec}.trained.json",
    params:
        place=lambda wc: " ".join(TRAINED[wc.spec]),
        source=lambda wc: audit_hash(SPECS[TRAINED[wc.spec]].model_tree),
    log:
        "logs/audits/{spec}.trained.log",
    shell:
        "OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 nnn-bench gate trained {params.place} --output {output} > {log} 2>&1"
