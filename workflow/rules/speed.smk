"""The speed lane: what must have the machine to itself. A job that takes all cores runs beside no other."""


rule measure:
    input:
        lambda wc: manifest_of(SPECS[MEASURED[wc.pair]]),
    output:
        "results/measured/{pair}.json",
    params:
        place=lambda wc: " ".join(MEASURED[wc.pair]),
        settings=lambda wc: digest(CATALOG.suite(MEASURED[wc.pair][0]).measure.model_dump(mode="json")),
        source=lambda wc: measuring_hash(SPECS[MEASURED[wc.pair]].model_tree, BASELINES[MEASURED[wc.pair][:2]].model_tree),
        machine=MACHINE,
    threads: lambda wc: workflow.cores
    resources:
        gpu=lambda wc: int(HAS_GPU and SPECS[MEASURED[wc.pair]].device != "cpu"),
    log:
        "logs/measured/{pair}.log",
    shell:
        "exec env OMP_WAIT_POLICY=PASSIVE nnn-bench measure {params.place} --output {output} > {log} 2>&1"
