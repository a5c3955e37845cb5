import PACKAGE.Delegate
import PACKAGE.NoDelegate
import PACKAGE.TYPEInputs
import PACKAGE.TYPERunner
import PACKAGE.TYPESpec
import android.content.Context
import com.google.ai.edge.litert.Fake
import java.io.File

/** Opens the runner on a stand-in for LiteRT that gives what [Fake] was told to, and prints what happened. */
fun main(args: Array<String>) {
    val context = Context(File(args[0]))
    val samples = TYPESpec.golden(context)
    Fake.answers = samples.map { sample ->
        TYPESpec.OUTPUTS.mapIndexed { at, tensor -> tensor.toModel(sample.outputs[at]) }
    }
    Fake.names = TYPESpec.OUTPUTS.map { it.inside }
    for (gpu in listOf("works", "refuses", "unlinked", "wrong")) {
        Fake.gpu = gpu
        Fake.open = 0
        val runner = TYPERunner.open(context)
        println("$gpu: ${runner.placement.used} fellBack=${runner.placement.fellBack} ${runner.placement.refused}")
        runner.close()
        println("$gpu: open ${Fake.open}")
    }
    try {
        TYPERunner.open(context, listOf(Delegate.GPU))
        println("only: opened")
    } catch (error: NoDelegate) {
        println("only: ${error.message}")
    }
}
