import warnings

import numpy as np
from scipy.special import expit

from ccr_diag.calibrators import fit


def test_maps_are_those_of_netcal():
    # netcal loads pyro, in seconds: only here
    from netcal.binning import HistogramBinning
    from netcal.binning import IsotonicRegression as Isotonic
    from netcal.scaling import BetaCalibration, LogisticCalibration, TemperatureScaling

    rng = np.random.default_rng(0)
    logits = rng.normal(-0.5, 2, (1500, 2))
    labels = (rng.random(logits.shape) < expit(0.6 * logits - 0.8)).astype(np.int8)
    p, y = expit(logits).ravel(), labels.ravel()
    others = {
        "temperature": TemperatureScaling(),
        "temperature_bias": LogisticCalibration(),
        "beta": BetaCalibration(),
        "histogram": HistogramBinning(15),
        "isotonic": Isotonic(),
    }
    for method, other in others.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pyro, below netcal
            expected = other.fit(p, y).transform(p).ravel()
        calibration = fit(method, logits, labels, ["all"] * 2)
        ours = calibration(logits).ravel()
        ours = expit(ours) if calibration.kind == "logits" else ours
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5, err_msg=method)
