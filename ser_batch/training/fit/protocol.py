"""How the figures of a training came about, in sentences."""

from ser_batch.training.fit.options import TrainOptions
from ser_batch.training.fit.runs import TrainedRun


def protocol_text(options: TrainOptions, last: TrainedRun) -> str:
    """How the figures came about, in sentences."""
    recipe, split = options.recipe, last.run.split
    chosen = recipe.fit.keep != "last"
    sentences = []
    if options.split == "random":
        sentences.append(
            "Clips divided at random: every speaker stands on all sides, so these figures say nothing about people "
            "whom the model has not heard."
        )
        if not recipe.data.test_share:
            what = (
                "The epoch and the calibration were chosen"
                if chosen
                else "The calibration was chosen"
            )
            sentences.append(f"{what} on the very clips that the figures are of.")
    elif options.folds:
        sentences.append(
            f"Speaker-independent: every speaker is tested once for each seed ({options.n_seeds}), by a network that "
            "never heard them."
        )
        sentences.append(
            "The epoch was chosen on speakers taken out of the training folds."
            if chosen
            else "The number of epochs is fixed; nobody validates."
        )
        sentences.append(
            "Each fold is calibrated on the other folds. Figures are means over folds and seeds; ECE and matrices are "
            f"pooled over them. The bundle itself is trained on everyone{' but those who validate' * chosen}, and "
            "calibrated on all folds."
        )
    else:
        sentences.append(
            "Speaker-independent: nobody is in two of train, validation and test."
        )
        if split.validation:
            what = (
                "The epoch and the calibration were chosen"
                if chosen
                else "The calibration was chosen"
            )
            sentences.append(
                f"{what} on the validation speakers; the test speakers were looked at once."
            )
        else:
            sentences.append(
                "There was nobody to validate on: the last epoch is kept, and nothing is calibrated."
            )
    if options.initial:
        sentences.append(
            f"It was fine-tuned from {options.initial}, whose own training is told in its card."
        )
    if options.tuned:
        sentences.append(
            f"The recipe was searched for in {options.tuned['trials']} trials, on the validation speakers alone."
        )
    if recipe.data.trim_silence:
        sentences.append("Clips are cut to their speech, as analysis does it.")
    return " ".join(sentences)
