"""Data: fetched, checked, cleaned, split, tokenized; and counted n-grams on the same characters a run may see."""


rule data_set:
    input:
        lambda wc: local_files(wc.dataset, wc.tokenizer),
    output:
        ".cache/tokens/{dataset}.{tokenizer}/manifest.json",
    params:
        settings=lambda wc: digest([one.model_dump(mode="json") for one in data_settings(wc.dataset, wc.tokenizer)]),
        source=lambda wc: closure_hash("nnn_bench.data.prepare", *data_modules(wc.dataset, wc.tokenizer)),
    log:
        "logs/data/{dataset}.{tokenizer}.log",
    shell:
        "nnn-bench data prepare {wildcards.dataset} --tokenizer {wildcards.tokenizer} > {log} 2>&1"


rule ladder:
    input:
        lambda wc: manifest_of(SPECS[LADDERS[wc.ladder]]),
    output:
        "results/ladders/{ladder}.json",
    params:
        place=lambda wc: " ".join(LADDERS[wc.ladder][:2]),
        source=closure_hash("nnn_bench.data.ngrams"),
    log:
        "logs/ladders/{ladder}.log",
    shell:
        "nnn-bench ladder {params.place} --output {output} > {log} 2>&1"
