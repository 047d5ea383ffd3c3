package chip

import "testing"

func TestFind(t *testing.T) {
	for name, want := range map[string]string{
		"NVIDIA H100 80GB HBM3": "H100 SXM", "NVIDIA H100 PCIe": "H100 PCIe", "NVIDIA H200": "H200", "NVIDIA A100-SXM4-80GB": "A100 SXM 80 GB",
		"NVIDIA A100-SXM4-40GB": "A100 40 GB", "NVIDIA L40S": "L40S", "NVIDIA L4": "L4", "NVIDIA GeForce RTX 4090": "RTX 4090",
		"PTX interpreter (sm_80)": "",
	} {
		if c, ok := Find(name); c.Name != want || ok != (want != "") {
			t.Errorf("%s is %q", name, c.Name)
		}
	}
	for _, c := range All() {
		// The data sheet's rate is that of the tensor cores at no more than 2.6 GHz.
		if ghz := c.PeakF16 * 1e3 / (float64(c.SMs) * c.MMA); c.SM < 90 && (ghz < 1 || ghz > 2.6) {
			t.Errorf("%s: the data sheet's peak is mma's at %.2f GHz", c.Name, ghz)
		}
	}
}
