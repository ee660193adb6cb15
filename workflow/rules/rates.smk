"""The search for learning rates: the same trials for every variant of a suite. Rates are files at places known beforehand, so the
graph is the same whatever they say."""


rule trials:
    input:
        lambda wc: manifest_of(SPECS[SEARCHED[wc.spec]]),
    output:
        "results/trials/{spec}.json",
    params:
        place=lambda wc: " ".join(SEARCHED[wc.spec]),
        source=lambda wc: search_hash(SPECS[SEARCHED[wc.spec]].model_tree),
        machine=MACHINE,
    threads: lambda wc: SPECS[SEARCHED[wc.spec]].threads
    resources:
        gpu=lambda wc: int(HAS_GPU and SPECS[SEARCHED[wc.spec]].device != "cpu"),
    log:
        "logs/trials/{spec}.log",
    shell:
        "exec env OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS={threads} nnn-bench trials {params.place} --output {output} >> {log} 2>&1"


rule rate:
    input:
        lambda wc: [f"results/trials/{key}.json" for key in GROUPS[wc.spec]],
    output:
        "results/rates/{spec}.json",
    params:
        place=lambda wc: " ".join(SEARCHED[wc.spec]),
        source=lambda wc: [closure_hash("nnn_bench.budget.rates"), search_hash(SPECS[SEARCHED[wc.spec]].model_tree)],
    threads: lambda wc: SPECS[SEARCHED[wc.spec]].threads
    resources:
        gpu=lambda wc: int(HAS_GPU and SPECS[SEARCHED[wc.spec]].device != "cpu"),
    log:
        "logs/rates/{spec}.log",
    shell:
        "exec env OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS={threads} nnn-bench rate {params.place} --output {output} >> {log} 2>&1"
