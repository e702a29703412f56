"""The scorer for profiled networks: features and pooled vectors normalised by place."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ser_batch.emotion.batch_scorer import BatchScorer, Scores
from ser_batch.emotion.batches import SegmentBatch, padded
from ser_batch.emotion.calibration import log_probabilities
from ser_batch.emotion.devices import memory_of, resolve_device
from ser_batch.emotion.frontend import SAMPLE_RATE, Frontend
from ser_batch.emotion.pending import PendingSegment
from ser_batch.emotion.place import (
    N_CEPSTRA,
    Statistics,
    normalised,
    place_weight,
    statistics_of,
    summaries,
)
from ser_batch.emotion.profile import Profile, RoleProfile
from ser_batch.emotion.profiled_bundle import ProfiledBundle
from ser_batch.emotion.profiled_network import ProfiledNetwork
from ser_batch.emotion.scorer import Waveform
from ser_batch.errors import UsageError

PROFILED_TOGETHER = 16


class ProfiledScorer(BatchScorer):
    """Scores with a profiled bundle, and the profile of a place or the bundle's own."""

    takes_profile = True

    def __init__(
        self,
        bundle: ProfiledBundle,
        device: str = "auto",
        profile: Profile | None = None,
    ) -> None:
        """Without a profile, the normalisation statistics are those of training.

        Raises:
            UsageError: the profile belongs to another model.
        """
        self.bundle = bundle
        self.labels, self.model_id = bundle.labels, bundle.model_id
        self.licence, self.sample_rate = bundle.licence, SAMPLE_RATE
        self.abstain_below = bundle.calibration.abstain_below
        self.alike = bundle.calibration.alike
        self.answers = bundle.calibration.answers
        self.device = resolve_device(device)
        with memory_of(self.device):
            self._frontend = Frontend().to(self.device)
            self._aroused = torch.tensor(bundle.aroused, device=self.device)
            self._members = [m.to(self.device) for m in bundle.modules()]
            self._own = Statistics(
                bundle.own.mean.to(self.device), bundle.own.variance.to(self.device)
            )
        self._set_places(profile)

    def _set_places(self, profile: Profile | None) -> None:
        if profile is not None and profile.model_id != self.model_id:
            raise UsageError(
                f"the profile belongs to model {profile.model_id}, but this is "
                f"{self.model_id}: make one with this model",
                option="--profile",
            )
        roles = [] if profile is None else list(profile.roles)
        self._number = {role: number for number, role in enumerate(roles, 1)}
        # Place 0 is the bundle's own.
        self._places = [(self._own, [m.own_place for m in self._members])]
        for role in roles:
            assert profile is not None
            self._places.append(self._shrunk(profile.roles[role]))

    def _shrunk(self, own: RoleProfile) -> tuple[Statistics, list[Statistics]]:
        share = place_weight(own.recordings)
        features = self._own.towards(self._statistics(own.mean, own.variance), share)
        pooled = [
            member.own_place.towards(self._statistics(mean, variance), share)
            for member, mean, variance in zip(
                self._members, own.pooled_mean, own.pooled_variance, strict=True
            )
        ]
        return features, pooled

    def _statistics(self, mean: list[float], variance: list[float]) -> Statistics:
        values = (torch.tensor(v, device=self.device) for v in (mean, variance))
        return Statistics(*values)

    def with_profile(self, profile: Profile | None) -> "ProfiledScorer":
        """Return a scorer of the same model with another profile."""
        return ProfiledScorer(self.bundle, str(self.device), profile)

    def with_context(
        self, segments: Sequence[PendingSegment], role: str | None
    ) -> list[PendingSegment]:
        """Return the segments with the number of their place as context."""
        number = self._number.get(role or "", self._number.get("", 0))
        context = torch.tensor([number])
        return [replace(segment, context=context) for segment in segments]

    def _scores(self, batch: SegmentBatch) -> Scores:
        frames, count = self._frames(batch.waveforms, batch.lengths)
        places = torch.zeros(len(batch.keys), dtype=torch.long)
        if batch.context is not None:
            places = batch.context[:, 0].long()
        features = self._rows([place for place, _ in self._places], places)
        cepstra, side = normalised(frames, features)
        probabilities: list[Tensor] = []
        arousal: list[Tensor] = []
        distance: list[Tensor] = []
        n_labels = len(self.labels)
        for i, member in enumerate(self._members):
            pooled = member.pooled(cepstra, side, count)
            place = self._rows([pooled for _, pooled in self._places], places, i)
            outputs = member.outputs(pooled, place)
            arousal.append(outputs[:, n_labels].sigmoid())
            logits = log_probabilities(
                outputs[:, :n_labels], arousal[-1], self._aroused
            )
            probabilities.append(self.bundle.calibration.probabilities(logits))
            distance.append(distance_from_training(pooled, member))
        return Scores(
            torch.stack(probabilities).mean(0).cpu(),
            {
                "arousal": torch.stack(arousal).mean(0).cpu(),
                "out_of_domain": self.bundle.calibration.out_of_domain(
                    torch.stack(distance).mean(0).cpu()
                ),
            },
        )

    def _frames(
        self, waveforms: Tensor, lengths: Tensor
    ) -> tuple[Float[Tensor, "batch frames values"], Int[Tensor, " batch"]]:
        on_device = waveforms.to(self.device, non_blocking=True)
        return self._frontend(on_device, lengths.to(self.device, non_blocking=True))

    def _rows(
        self, places: Sequence[Any], numbers: Tensor, member: int | None = None
    ) -> Statistics:
        """Return the statistics of each segment's place, one row per segment."""
        chosen = [p if member is None else p[member] for p in places]
        numbers = numbers.to(self.device)
        mean = torch.stack([s.mean for s in chosen])[numbers]
        variance = torch.stack([s.variance for s in chosen])[numbers]
        return Statistics(mean, variance)

    def described(
        self, waveforms: Sequence[Waveform], roles: Sequence[str]
    ) -> tuple[Float[Tensor, "segments pooled"], Float[Tensor, " segments"]]:
        """Return segments as the last layer of the first member sees them.

        The pooled vectors are normalised by place; arousal is 0 to 1.
        """
        member = self._members[0]
        pooled = torch.zeros(len(waveforms), member.config.pooled_width)
        arousal = torch.zeros(len(waveforms))
        for own, inputs, place in self._batches(waveforms, roles):
            with memory_of(self.device), torch.inference_mode():
                x = member.pooled(*inputs)
                pooled[own] = member.placed(x, place).cpu()
                outputs = member.outputs(x, place)
                arousal[own] = outputs[:, len(self.labels)].sigmoid().cpu()
        return pooled, arousal

    def stepped(
        self, waveforms: Sequence[Waveform], roles: Sequence[str]
    ) -> list[Float[Tensor, "steps projection"]]:
        """Return what the BiLSTM of the first member hears of each segment."""
        found = [torch.zeros(0)] * len(waveforms)
        for own, inputs, _ in self._batches(waveforms, roles):
            with memory_of(self.device), torch.inference_mode():
                steps, mask = self._members[0].steps(*inputs)
                for i, row, n in zip(own, steps, mask.sum(1).long(), strict=True):
                    found[i] = row[:n].cpu()
        return found

    def _batches(
        self, waveforms: Sequence[Waveform], roles: Sequence[str]
    ) -> Iterator[tuple[list[int], tuple[Tensor, Tensor, Tensor], Statistics]]:
        """Yield segments: their numbers, a network's inputs, and their places."""
        order = sorted(range(len(waveforms)), key=lambda i: len(waveforms[i]))
        default = self._number.get("", 0)
        for start in range(0, len(order), PROFILED_TOGETHER):
            own = order[start : start + PROFILED_TOGETHER]
            with memory_of(self.device), torch.inference_mode():
                frames, count = self._frames(*padded([waveforms[i] for i in own]))
                places = torch.tensor(
                    [self._number.get(roles[i], default) for i in own]
                )
                features = self._rows([place for place, _ in self._places], places)
                inputs = (*normalised(frames, features), count)
                yield own, inputs, self._rows([p for _, p in self._places], places, 0)

    def profile_of(
        self,
        speech: Mapping[str, Mapping[str, Sequence[Waveform]]],
    ) -> Profile:
        """Return the profile of a place from a sample of its speech.

        Args:
            speech: waveforms of some segments at `sample_rate`, by role (empty for
                everyone) and by recording id. Roles without speech get no profile.
        """
        roles, sample = {}, set()
        for role, recordings in speech.items():
            waveforms = [w for own in recordings.values() for w in own]
            if waveforms:
                roles[role] = self._role_profile(len(recordings), waveforms)
                sample |= set(recordings)
        return Profile(self.model_id, roles, tuple(sorted(sample)))

    def _role_profile(
        self, n_recordings: int, waveforms: Sequence[Waveform]
    ) -> RoleProfile:
        ordered = sorted(waveforms, key=len)
        batches = [
            padded(ordered[i : i + PROFILED_TOGETHER])
            for i in range(0, len(ordered), PROFILED_TOGETHER)
        ]
        with memory_of(self.device), torch.inference_mode():
            framed = [self._frames(*batch) for batch in batches]
            summary = torch.cat([summaries(*frames) for frames in framed]).mean(0)
            place = statistics_of(summary)
            share = place_weight(n_recordings)
            shrunk = self._own.towards(place, share)
            inputs = [
                (*normalised(frames, _row(shrunk)), count) for frames, count in framed
            ]
            pooled = [
                torch.cat([member.pooled(*batch) for batch in inputs])
                for member in self._members
            ]
        gap = (place.mean - self._own.mean)[:N_CEPSTRA]
        distance = (gap.square() / self._own.variance[:N_CEPSTRA]).mean()
        return RoleProfile(
            n_recordings,
            len(waveforms),
            place.mean.tolist(),
            place.variance.tolist(),
            [p.mean(0).tolist() for p in pooled],
            [p.var(0, unbiased=False).tolist() for p in pooled],
            float(distance),
        )


def _row(statistics: Statistics) -> Statistics:
    return Statistics(statistics.mean[None], statistics.variance[None])


def distance_from_training(pooled: Tensor, member: ProfiledNetwork) -> Tensor:
    """Return each segment's distance from the training speech; 1 is typical."""
    own = member.own_place
    return ((pooled - own.mean).square() / (own.variance + 1e-4)).mean(1)
