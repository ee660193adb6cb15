"""Comparison: the runs of a study, paired by seed with its baseline."""


rule compare:
    input:
        trained=lambda wc: trained_for(wc.suite, wc.study),
        audits=lambda wc: audits_for(wc.suite, wc.study),
        ladder=lambda wc: ladder_for(wc.suite, wc.study),
    output:
        "results/comparisons/{suite}/{study}.json",
    params:
        study=lambda wc: digest(CATALOG.study(wc.study).model_dump(mode="json")),
        suite=lambda wc: digest(CATALOG.suite(wc.suite).model_dump(mode="json")),
        variants=lambda wc: digest({name: CATALOG.variant(name).summary for name in CATALOG.study(wc.study).variants}),
        source=closure_hash("nnn_bench.statistics.comparison"),
    log:
        "logs/comparisons/{suite}.{study}.log",
    shell:
        "nnn-bench compare {wildcards.suite} {wildcards.study} > {log} 2>&1"
