"""Parameters: unknown, of the wrong type, out of range, contradicting one another; every section of conf/."""

from cases.case import Case, with_params


def _case(wrong: str, params: str, says: str, process: bool = False) -> Case:
    return Case("parameters", wrong, says, with_params(params), process=process)


_RUN = (
    _case("rounds is 0", "rounds=0", "'rounds' is 0", process=True),
    _case("rounds is more than 100", "rounds=101", "(allowed: >= 1 and <= 100)"),
    _case("rounds is a word", "rounds=abc", "'rounds' is 'abc'"),
    _case("rounds is misspelled", "round=3", "did you mean 'rounds'?"),
    _case("seed is negative", "seed=-1", "'seed' is -1"),
    _case("a section is a number", "finetune=7", "'finetune' is 7"),
    _case("a section is null", "synthesis=null", "'synthesis' is None"),
    _case("a section is misspelled", "weightin.enabled=false", "did you mean 'weighting'?"),
)

_MODEL = (
    _case("the family of models is unknown", "model.family=kandinsky", "'kandinsky'; there are stable_diffusion,"),
    _case("the family of models is a function", "model.family=math:sqrt", "name a subclass of DiffusionModel"),
    _case("the resolution is no multiple of 16", "model.resolution=500", "'model.resolution' is 500"),
    _case("the number type is unknown", "model.dtype=float8", "'float32' or 'bfloat16'"),
    _case("the device is unknown", "model.device=tpu", "'auto', 'cpu'"),
    _case(
        "a switch is neither true nor false",
        "model.family=stable_diffusion_3,model.options.t5=perhaps",
        "model.options: parameter 't5' is 'perhaps': it should be true or false",
    ),
    _case("an option that the family does not have", "model.options.t5=false", "options of stable_diffusion: none"),
    _case("no denoising step", "sampler.num_inference_steps=0", "'sampler.num_inference_steps' is 0"),
    _case("the runtime is unknown", "sampler.runtime=tensorrt", "'torch', 'compile' or 'onnxruntime'"),
    _case(
        "ONNX Runtime is to compute in bfloat16",
        "sampler.runtime=onnxruntime,model.dtype=bfloat16",
        "sampler.runtime is 'onnxruntime', but it computes in float32 alone, and model.dtype is bfloat16",
    ),
    _case("guidance is not a number", "sampler.guidance_scale=.nan", "is nan: input should be a finite number"),
)

_EXECUTION = (
    _case("the engine is unknown", "execution.engine=spark", "'local' or 'ray'"),
    _case("no worker", "execution.engine=ray,execution.workers=0", "'execution.workers' is 0"),
    _case("a negative share of a GPU", "execution.gpus_per_worker=-1", "'execution.gpus_per_worker' is -1"),
    _case("no thread", "execution.threads=0", "'execution.threads' is 0"),
)

_CURATION = "prompt_curation."
_PROMPTS = (
    _case(
        "the kind of prompt source is unknown",
        f"{_CURATION}source.kind=web",
        "unknown prompt source 'web'; there are file, hub,",
    ),
    _case("a share is above 1", f"{_CURATION}source.two_objects=1.5", "'prompt_curation.source.two_objects' is 1.5"),
    _case(
        "more captions of one object than there are",
        f"{_CURATION}source.two_objects=0,{_CURATION}source.count=300",
        "lower `count` or raise `two_objects`",
    ),
    _case("a pool larger than its source", f"{_CURATION}pool_size=100000", "raise count, or lower pool_size"),
    _case("a round takes more than the pool", f"{_CURATION}prompts_per_round=13", "is more than pool_size (12)"),
    _case("test and validation are larger than their source", f"{_CURATION}test_size=99", "raise it"),
    _case(
        "the probe drops every prompt",
        f"{_CURATION}probe.drop_lowest=0.6,{_CURATION}probe.drop_highest=0.5",
        "make their sum less than 1",
    ),
    _case("the probe's reward is unknown", f"{_CURATION}probe.reward=taste", "unknown reward 'taste'"),
    _case("the kind of diversity is unknown", f"{_CURATION}diversity=colors", "'words' or 'text_encoder'"),
    _case("a filter's share is above 1", f"{_CURATION}filters.min_letter_share=2", "min_letter_share' is 2"),
    _case("blocked words are no list", f"{_CURATION}filters.blocked_words=7", "blocked_words' is 7"),
    _case("a filter is misspelled", f"{_CURATION}filters.max_token=9", "did you mean 'prompt_curation.filters.max_tok"),
)

_SELECTION = "preference_selection."
_ROUND = (
    _case("a reward that selects is unknown", f"{_SELECTION}rewards.hps_v9=1", "there are proxy, oracle, hpsv2_1"),
    _case("votes select, but none was given", f"{_SELECTION}rewards.votes=1", "there are no votes in"),
    _case("all rewards that select weigh nothing", f"{_SELECTION}rewards.proxy=0", "preference_selection.rewards"),
    _case("a reward weighs less than nothing", f"{_SELECTION}rewards.proxy=-1", "preference_selection.rewards"),
    _case("the way to combine rewards is unknown", f"{_SELECTION}combine=vote", "'standardize' or 'rank'"),
    _case("a margin is not a number", f"{_SELECTION}min_margin=.nan", "'preference_selection.min_margin' is nan"),
    _case("a floor is infinite", f"{_SELECTION}floors.proxy=.inf", "'preference_selection.floors.proxy' is inf"),
    _case("the embedding of weights is unknown", "weighting.features=beauty", "unknown features 'beauty'; there are"),
)

_TRAINING = (
    _case("the learning rate is misspelled", "finetune.learning_rat=1", "did you mean 'finetune.learning_rate'?"),
    _case("an adapter of rank 0", "finetune.rank=0", "(allowed: >= 1 and <= 512)"),
    _case("layers that the model lacks", "finetune.target_modules=[to_x]", "'to_x' is no linear layer or convolution"),
    _case("layers by a broken pattern", "finetune.target_modules=(", "'(' is no regular expression"),
    _case("an adapter's scale of zero", "finetune.lora_alpha=0", "'finetune.lora_alpha' is 0"),
    _case("all of an adapter's inputs are dropped", "finetune.lora_dropout=1", "'finetune.lora_dropout' is 1"),
    _case("steps are a word", "finetune.steps=ten", "'finetune.steps' is 'ten'"),
    _case("the layers to train are unknown", "finetune.layers=some", "'attention' or 'all'"),
    _case("supervised fine-tuning of no steps", "sft.steps=0", "'sft.steps' is 0"),
    _case("a corpus too small to train on", "base_model.corpus.size=1", "'base_model.corpus.size' is 1"),
    _case("no phase of training", "base_model.denoiser.phases=[]", "'base_model.denoiser.phases'"),
    _case("annotators who err as often as not", "base_model.proxy.annotation.error_rate=0.6", "error_rate' is 0.6"),
)

_EVALUATION = (
    _case("the judge is unknown", "evaluation.judge=human", "unknown judge 'human'; there are scenes"),
    _case("the judge is a function", "evaluation.judge=math:sqrt", "'math:sqrt' is no judge; name a class with"),
    _case(
        "a reward of your own is nowhere",
        "evaluation.rewards=[nowhere:Taste]",
        "install its package, or put its file into the project's src/ folder",
    ),
    _case(
        "a reward of your own has another name",
        "evaluation.rewards=[math:Taste]",
        "module math defines no 'Taste'; correct the name",
    ),
    _case(
        "one of several reported rewards is unknown", "evaluation.rewards=[proxy, beauty]", "unknown reward 'beauty'"
    ),
    _case("reported rewards are no list", "evaluation.rewards=proxy", "'evaluation.rewards' is 'proxy'"),
    _case("intervals of too few resamples", "evaluation.bootstrap_resamples=1", "(allowed: >= 10 and <= 100000)"),
    _case("the gate forgives without limit", "gate.tolerance=.inf", "'gate.tolerance' is inf"),
    _case("the device of rewards is unknown", "rewards.device=gpu", "'rewards.device' is 'gpu'"),
    _case("a checkpoint is misspelled", "rewards.hpsv2.chekpoint=x", "did you mean 'rewards.hpsv2.checkpoint'?"),
)

CASES = (*_RUN, *_MODEL, *_EXECUTION, *_PROMPTS, *_ROUND, *_TRAINING, *_EVALUATION)
