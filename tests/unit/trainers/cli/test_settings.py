"""The verb `adaptkit settings`."""

from trainers.cli import main


def test_every_setting_is_listed_with_what_it_means(capsys):
    assert main(["settings"]) == 0
    everything = capsys.readouterr().out
    assert "SHOTS = (16,): " in everything
    assert "sections: OPTIM, VIEWS" in everything
    assert main(["settings", "coop"]) == 0
    assert "COOP.N_CTX = 16: Learnt tokens" in capsys.readouterr().out
    assert main(["settings", "cross_entropy"]) == 0
    assert "has no settings" in capsys.readouterr().out


def test_a_section_that_is_none_is_answered_with_the_nearest(capsys):
    assert main(["settings", "OPTIMM"]) == 2
    assert "did you mean OPTIM" in capsys.readouterr().err
