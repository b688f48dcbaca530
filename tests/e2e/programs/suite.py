"""unittest: a suite with every kind of outcome, mocks, sub-tests, an asynchronous case."""
import gc
import io
import unittest
import unittest.mock

gc.disable()


class Outcomes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = list(range(20))

    def setUp(self):
        self.addCleanup(self.shared.append, 1)

    def test_passes(self):
        self.assertEqual({"a": [1, 2]}, {"a": [1, 2]})

    def test_fails(self):
        self.assertEqual(list(range(30)), list(range(29)) + [0])

    def test_breaks(self):
        raise KeyError("no")

    @unittest.skip("not today")
    def test_skipped(self):
        self.fail()

    @unittest.expectedFailure
    def test_expected(self):
        self.assertTrue(False)

    def test_split(self):
        for k in range(10):
            with self.subTest(k=k):
                self.assertNotEqual(k % 3, 2)

    def test_raises(self):
        with self.assertRaisesRegex(ValueError, "invalid literal"):
            int("x")

    def test_mock(self):
        mock = unittest.mock.Mock(side_effect=[1, 2, ValueError])
        self.assertEqual([mock(1), mock(2)], [1, 2])
        self.assertRaises(ValueError, mock, 3)
        mock.assert_called_with(3)
        with unittest.mock.patch("os.getcwd", return_value="/"):
            import os
            self.assertEqual(os.getcwd(), "/")


def cases():
    return unittest.defaultTestLoader.loadTestsFromTestCase(Outcomes)


def main():
    for _ in range(3):
        result = unittest.TextTestRunner(stream=io.StringIO(), verbosity=2).run(cases())
        print(result.testsRun, len(result.failures), len(result.errors), len(result.skipped))


def warm_up():
    main()


warm_up()
main()
