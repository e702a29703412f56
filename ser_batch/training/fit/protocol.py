"""The protocol behind the figures of a training run, in sentences."""

from ser_batch.training.fit.options import TrainOptions
from ser_batch.training.fit.runs import TrainedRun


def protocol_text(options: TrainOptions, last: TrainedRun) -> str:
    """Describe the protocol behind the figures of a training run, in sentences."""
    recipe, split = options.recipe, last.run.split
    chosen = recipe.fit.keep != "last"
    sentences = []
    if options.split == "random":
        sentences.append(
            "Clips split at random: speakers occur in all parts, so these figures do "
            "not apply to unseen speakers."
        )
        if not recipe.data.test_share:
            what = (
                "The epoch and the calibration were chosen"
                if chosen
                else "The calibration was chosen"
            )
            sentences.append(f"{what} on the very clips used for these figures.")
    elif options.folds:
        sentences.append(
            "Speaker-independent: every speaker is tested once per seed "
            f"({options.n_seeds}), by a network that was not trained on them."
        )
        sentences.append(
            "The epoch was chosen on validation speakers from the training folds."
            if chosen
            else "The number of epochs is fixed; there is no validation set."
        )
        sentences.append(
            "Each fold is calibrated on the other folds. Figures are means over folds "
            "and seeds; ECE and confusion matrices are pooled over them. The bundle "
            "itself is trained on all speakers"
            f"{' except those for validation' * chosen}, and calibrated on all folds."
        )
    else:
        sentences.append(
            "Speaker-independent: train, validation and test share no speakers."
        )
        if split.validation:
            what = (
                "The epoch and the calibration were chosen"
                if chosen
                else "The calibration was chosen"
            )
            sentences.append(
                f"{what} on the validation speakers; the test speakers were used once."
            )
        else:
            sentences.append(
                "There were no validation speakers: the last epoch is kept, and "
                "nothing is calibrated."
            )
    if options.initial:
        sentences.append(
            f"Fine-tuned from {options.initial}; its card describes its training."
        )
    if options.tuned:
        sentences.append(
            "The recipe was tuned on the validation speakers only, in "
            f"{options.tuned['trials']} trials."
        )
    if recipe.data.trim_silence:
        sentences.append("Clips are trimmed to their speech, as in `ser analyze`.")
    return " ".join(sentences)
